"""Two early indicators of training: is the condition followed, and do colours drift?

Control gap: loss without control minus loss with it, at the same noise. Near 0 the ControlNet has no effect yet;
it rises at the "sudden convergence" (ControlNet, section 4.3).

Colour drift: how mean and standard deviation of each channel differ between generated and pre image in unchanged areas.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.examples.similarity import Mask, Pixels

CHANNELS = ("red", "green", "blue")
Losses = NDArray[np.float64]  # (patches, timesteps)


def loss_metrics(timesteps: Sequence[int], with_control: Losses, without: Losses | None) -> dict[str, float]:
    """Mean loss and control gap, overall and per timestep.

    Args:
        timesteps: the centre of each bin.
        with_control: loss of every patch at every timestep.
        without: the same with the ControlNet's residuals at zero; None where there is no ControlNet.
    """
    metrics = _per_timestep("validation_loss", timesteps, with_control)
    return metrics if without is None else metrics | _per_timestep("control_gap", timesteps, without - with_control)


def _per_timestep(name: str, timesteps: Sequence[int], values: Losses) -> dict[str, float]:
    means = values.mean(axis=0)
    per_bin = {f"{name}_t{t}": float(mean) for t, mean in zip(timesteps, means, strict=True)}
    return {name: float(values.mean()), **per_bin}


def colour_drift(image: Pixels, pre: Pixels, unchanged: Mask) -> NDArray[np.float64]:
    """Mean and standard deviation of an image minus those of the pre image, over the unchanged pixels.

    Args:
        image: generated, (H, W, 3) uint8.
        pre: the pre image.
        unchanged: unchanged pixels; NaN is returned if there are none.

    Returns:
        (2, 3): mean and standard deviation, of red, green, blue, in 0..255.
    """
    if not unchanged.any():
        return np.full((2, 3), np.nan)
    ours, theirs = (pixels[unchanged].astype(np.float64) for pixels in (image, pre))
    return np.stack([ours.mean(axis=0) - theirs.mean(axis=0), ours.std(axis=0) - theirs.std(axis=0)])


def drift_metrics(drifts: Iterable[NDArray[np.float64]]) -> dict[str, float]:
    """Mean over patches: `colour_drift_mean_red`, ..., `colour_drift_std_blue`; empty without unchanged ground."""
    known: list[Any] = [drift for drift in drifts if not np.isnan(drift).any()]
    if not known:
        return {}
    average = np.mean(known, axis=0)
    return {
        f"colour_drift_{statistic}_{channel}": float(average[row, column])
        for row, statistic in enumerate(("mean", "std"))
        for column, channel in enumerate(CHANNELS)
    }
