"""A collection on disk that grows, shrinks and survives a kill, a full disk and damaged files."""
