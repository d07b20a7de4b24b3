"""The cohort's report."""
