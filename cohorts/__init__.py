"""Cohort folders, records, table contracts and storage."""
