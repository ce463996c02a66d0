"""Fingerprints of a clip in, one vector out: the second stage of AMG-Embedding, with its training and search."""
