"""One run: plan, measuring, steps, publishing."""
