"""Ways to program: one class each, from a config entry to targets on a chip."""
