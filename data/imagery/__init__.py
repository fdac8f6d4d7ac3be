"""Pixels and the ground: rasters read by windows, 16 bits to 8, one grid for a pair, coordinates."""
