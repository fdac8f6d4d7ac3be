"""From rows to what a network is shown: which view, which condition, which pixels count."""
