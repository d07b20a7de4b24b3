"""Builders of the networks, by name and preset."""
