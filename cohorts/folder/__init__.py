"""What a study writes: the study file, its tables, their problems."""
