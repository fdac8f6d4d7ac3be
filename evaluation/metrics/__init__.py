"""Networks and formulas that judge images."""
