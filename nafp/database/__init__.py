"""A collection on disk that grows, shrinks and survives."""
