"""Pure functions of the step: nothing here has state to save (law 2 of the design)."""

import math


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Linear ramp, constant, cosine to 0.

    Args:
        step: 0 for the first update.
        peak: the constant value.
        steps: of the whole run.
        warmup_steps: the ramp reaches the peak at this step.
        decay_steps: the last ones, over which it decays.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    left = steps - step
    if left < decay_steps:
        return peak * 0.5 * (1 - math.cos(math.pi * left / decay_steps))
    return peak


def ema_decay(step: int, *, limit: float) -> float:
    """Decay of the EMA at an update: low at first, so that the initial weights are forgotten."""
    return min(limit, (1 + step) / (10 + step))
