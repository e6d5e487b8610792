"""Legalise: casts and rewrites for what the target runtime has no kernel for."""
