"""Seconds and memory of training steps, builds and scenes, beside the usual way of doing the same."""
