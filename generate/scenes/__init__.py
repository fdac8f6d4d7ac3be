"""Whole scenes of any size, by overlapping windows."""
