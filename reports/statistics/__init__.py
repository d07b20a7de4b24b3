"""From tables to the rows of ``statistics``."""
