"""Fingerprints in, places out: stores, indexes, and the matching of queries. Needs numpy and faiss, never JAX."""
