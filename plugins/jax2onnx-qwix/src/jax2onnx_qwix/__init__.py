"""Export models that qwix has quantised."""
