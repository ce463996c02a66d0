"""Neural audio fingerprinting: which recording does this short, noisy clip come from, and where in it?

One alphabet of shapes is used throughout: B batch, S samples, F mel bins, T frames, D dimensions,
N rows of a store, K neighbours, L segments of a query.
"""

__version__ = "0.1.0"
