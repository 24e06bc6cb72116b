"""Ways to program: one class each, from an entry of a config to what is on a chip."""
