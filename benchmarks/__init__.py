"""Measurements behind the docs: speed and memory, proofs of resuming, studies."""
