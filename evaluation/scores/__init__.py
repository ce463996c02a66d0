"""Stores or answers in, hit rates with intervals out."""
