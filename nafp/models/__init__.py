"""Segments become fingerprints: the log-mel front end and the networks."""
