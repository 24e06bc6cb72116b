"""The minimum weight error: objectives and searches."""
