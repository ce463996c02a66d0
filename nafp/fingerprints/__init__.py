"""Recordings in, stores of fingerprints out: batched across tracks, resumable, shared among hosts."""
