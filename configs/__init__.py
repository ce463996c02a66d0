"""Experiments as short diffs of nafp/config."""
