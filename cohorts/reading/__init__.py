"""Rounds of reading: who reads what in which order, what comes back from the readers, and its way into readings.tsv."""
