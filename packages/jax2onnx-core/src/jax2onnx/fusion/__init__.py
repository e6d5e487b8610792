"""Fusion: whole functions found again in a program."""
