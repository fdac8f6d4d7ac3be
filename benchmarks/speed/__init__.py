"""Seconds and memory of training steps, builds and scenes, compared with the usual implementation."""
