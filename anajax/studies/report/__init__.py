"""Results, figures, reports."""
