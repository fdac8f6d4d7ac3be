"""Editing without training, as rows to compare with."""
