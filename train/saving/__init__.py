"""Checkpoints and run folders: written whole, kept by rule, resumed exactly."""
