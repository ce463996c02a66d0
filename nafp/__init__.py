"""Neural audio fingerprinting: which recording is this short, noisy clip from, and where in it?

One alphabet of shapes is used throughout: B batch, S samples, F mel bins, T frames, D dimensions,
N rows of a store, K neighbours, L segments of a query.
"""

import importlib

__version__ = "0.2.0"

# Public name -> its module, loaded on first use: `import nafp` costs neither JAX nor faiss.
_HOMES = {
    "Answer": "nafp.identify.answers",
    "Corpus": "nafp.corpora.corpus",
    "Database": "nafp.database.database",
    "Error": "nafp.errors",
    "Match": "nafp.search.match",
    "Network": "nafp.models.protocol",
    "Store": "nafp.search.store",
    "load": "nafp.weights.sources",
}
__all__ = ["Answer", "Corpus", "Database", "Error", "Match", "Network", "Store", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nafp' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
