"""The accelerate trainer: config, cache, objective, loop, checkpoints."""
