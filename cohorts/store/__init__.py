"""What a run keeps: commit records and digests."""
