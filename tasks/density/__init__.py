"""Densities of regions on CT."""
