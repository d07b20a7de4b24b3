"""CT perfusion: from a series to maps and core."""
