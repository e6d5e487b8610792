"""Weights: arrays that are somewhere else, in files or behind a callable, and their bytes, a part at a time."""
