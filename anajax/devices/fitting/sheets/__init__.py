"""Tables of measurements as laboratories keep them, converted to plain columns."""
