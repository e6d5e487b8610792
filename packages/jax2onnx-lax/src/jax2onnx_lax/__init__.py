"""Lower the primitives of ``jax.lax`` to ONNX."""
