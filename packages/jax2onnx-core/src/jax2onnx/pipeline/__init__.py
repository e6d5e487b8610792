"""The pipeline: one export from a callable to a model, stage by stage."""
