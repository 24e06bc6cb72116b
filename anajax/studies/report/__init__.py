"""Results, figures, pages."""
