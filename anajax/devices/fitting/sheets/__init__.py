"""Tables of measurements as laboratories keep them, made into plain columns."""
