"""What a model knows: scoring, SliCK, the audit of a file."""
