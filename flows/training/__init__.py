"""Training: the flow of `aspects train`, its steps on workers, its input and what it publishes."""
