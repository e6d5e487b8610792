"""Tidy: rewrites of the emitted graph that every runtime gains from."""
