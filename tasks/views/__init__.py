"""Slices to look at."""
