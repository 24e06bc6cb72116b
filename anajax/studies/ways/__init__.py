"""From an entry of a config to what is on a chip."""
