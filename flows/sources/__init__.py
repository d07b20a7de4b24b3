"""Everything that scores: one module per kind, what they share, and their registry."""
