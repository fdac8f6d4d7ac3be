"""A trained network as a folder for others: weights, card, sampler; on the hub only when asked."""
