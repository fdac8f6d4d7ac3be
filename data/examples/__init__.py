"""From rows to network inputs: which view, which condition, which pixels count."""
