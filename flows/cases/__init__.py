"""A case on a worker: its files, opened once, and its scans as every kind of source wants them."""
