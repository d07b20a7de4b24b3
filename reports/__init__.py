"""Statistics, figures, lint and the report."""
