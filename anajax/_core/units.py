"""Units used by more than one module."""

DAY = 86400.0
"""One day, s."""
YEAR = 365.25 * DAY
"""One Julian year, s."""
