"""Writes and reads trained parameters: the checkpoints of a run, exported files, and the network that ships."""
