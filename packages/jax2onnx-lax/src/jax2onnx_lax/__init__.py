"""A lowering to ONNX for the primitives of ``jax.lax``."""
