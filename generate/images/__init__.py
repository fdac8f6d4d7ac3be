"""Inputs to generate from: image files, batch files, patches of a dataset."""
