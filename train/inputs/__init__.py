"""What the network sees in one draw, and the cache of what the frozen encoders say."""
