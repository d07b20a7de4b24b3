"""Figures: charts, maps, flowchart, key slices."""
