"""The anatomical model: template, label maps, landmarks."""
