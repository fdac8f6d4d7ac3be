"""The built dataset: rows, splits, shards, dataset.json, the card; written whole, opened by everyone."""
