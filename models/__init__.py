"""The anatomical model (template and label maps); networks and their training."""
