"""Quality figures of scans and their limits."""
