"""Grids and transforms: resampling, working grid, rigid motion."""
