"""Runs by the clock: nightly and serve."""
