"""Open ``flax.nnx`` modules for export, and emit their layers as operators."""
