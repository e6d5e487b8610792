"""``equinox`` modules, opened for export."""
