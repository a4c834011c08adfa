"""Builder of the notebooks."""
