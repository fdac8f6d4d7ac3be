"""Training-free editing, as baselines."""
