"""Launchers: absl flags and one call."""
