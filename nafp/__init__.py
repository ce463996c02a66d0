"""Neural audio fingerprinting: which recording is this short, noisy clip from, and where in it?

One alphabet of shapes is used throughout: B batch, S samples, F mel bins, T frames, D dimensions,
N rows of a store, K neighbours, L segments of a query.
"""

import importlib

__version__ = "0.1.0"

# Public name -> its module, loaded on first use: `import nafp` costs neither JAX nor faiss.
_HOMES = {
    "Corpus": "nafp.corpora.corpus",
    "Database": "nafp.database.database",
    "Match": "nafp.search.match",
    "Store": "nafp.search.store",
    "load": "nafp.weights.sources",
}
__all__ = ["Corpus", "Database", "Match", "Store", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nafp' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
