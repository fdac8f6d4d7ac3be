"""What to generate: image files, batch files, patches of a dataset."""
