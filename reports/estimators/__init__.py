"""Estimators: numbers in, result objects with intervals out."""
