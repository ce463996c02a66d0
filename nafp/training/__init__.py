"""Segments in, parameters out: the input pipeline, augmentation, losses, the step and the loop."""
