"""An endless recording in, stretches of played tracks out."""
