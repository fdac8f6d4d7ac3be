"""Measurements behind the docs: speed and memory, resume tests, studies."""
