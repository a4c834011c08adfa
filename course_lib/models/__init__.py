"""Models: presets, download, safety, loading in 4 bits, memory."""
