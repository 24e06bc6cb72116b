"""Programming with measurements in the loop."""
