"""Segments become parameters: the input pipeline, augmentation, losses, the step and the loop."""
