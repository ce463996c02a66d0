"""Fingerprints in, places out. Needs numpy and faiss, never JAX."""
