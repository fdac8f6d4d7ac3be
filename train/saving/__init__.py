"""Checkpoints and run folders: written atomically, retained by rule, resumed exactly."""
