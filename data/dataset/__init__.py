"""The built dataset: rows, splits, shards, dataset.json, the card; written atomically."""
