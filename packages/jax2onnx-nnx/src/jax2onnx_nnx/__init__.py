"""``flax.nnx`` modules, opened for export, and their layers as whole functions."""
