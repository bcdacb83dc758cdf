"""Low-level Redis."""
