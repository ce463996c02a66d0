"""Fingerprints become answers: stores, indexes, matches. Needs numpy and faiss, never JAX."""
