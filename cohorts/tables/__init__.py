"""What a run gives: table contracts, compiling and writing."""
