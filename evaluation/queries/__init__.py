"""Recordings in, queries with their ground truth out."""
