"""A synthetic cohort of known truth."""
