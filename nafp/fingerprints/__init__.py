"""Recordings in, stores of fingerprints out: batched across tracks, resumable, shared by several processes."""
