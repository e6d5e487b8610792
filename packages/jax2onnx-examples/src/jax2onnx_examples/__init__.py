"""Runnable models, each registered as an example."""
