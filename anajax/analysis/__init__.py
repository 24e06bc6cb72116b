"""What a network makes of its hardware: no config, no disk."""
