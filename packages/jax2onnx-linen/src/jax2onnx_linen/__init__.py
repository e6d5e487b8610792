"""Open ``flax.linen`` modules for export, and emit their layers as operators."""
