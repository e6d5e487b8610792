"""Checking: run a model in onnxruntime and compare it with JAX."""
