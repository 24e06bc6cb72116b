"""Programming by measuring."""
