"""What learns: anatomies, synthetic patients, splits, and the training of networks on them."""
