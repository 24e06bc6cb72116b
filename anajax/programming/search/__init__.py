"""The least weight error: objectives and searches."""
