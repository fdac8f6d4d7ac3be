"""Whole scenes of any size, in overlapping windows."""
