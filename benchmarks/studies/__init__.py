"""Studies behind the numbers in the docs: data quality, metadata, sequences, seams."""
