"""Inspect: what a model holds, in figures and as a picture."""
