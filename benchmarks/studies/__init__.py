"""What the numbers in the docs were measured with: data quality, metadata, sequences, seams."""
