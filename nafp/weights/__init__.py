"""Trained parameters in and out: checkpoints, exported files, the network that ships."""
