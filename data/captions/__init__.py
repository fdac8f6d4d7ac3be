"""Captions from labels in five styles, and captions from elsewhere."""
