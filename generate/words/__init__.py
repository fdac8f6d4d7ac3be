"""Word maps: where the networks attended to a word of the prompt."""
