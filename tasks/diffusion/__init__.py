"""Diffusion MR: ADC, normal tissue, lesion by thresholds."""
