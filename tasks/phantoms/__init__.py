"""Arrays of known truth, for demo, tests and training."""
