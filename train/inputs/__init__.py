"""The training examples, and the cache of the frozen encoders' outputs."""
