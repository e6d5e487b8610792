"""``flax.linen`` modules, opened for export."""
