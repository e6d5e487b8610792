"""Open ``equinox`` modules for export, and emit their layers as operators."""
