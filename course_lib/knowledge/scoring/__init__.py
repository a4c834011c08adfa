"""The exact scoring engine."""
