"""A recording without end in, stretches of played tracks out."""
