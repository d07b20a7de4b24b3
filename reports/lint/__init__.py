"""The lint: numbers that cannot be are refused."""
