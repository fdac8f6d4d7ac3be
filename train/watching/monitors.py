"""Two numbers that say early whether training works: does the condition count, and do colours drift?

Control gap: loss without control minus loss with it, at the same noise. Near 0 the ControlNet is not listened to yet;
it rises at the "sudden convergence" (ControlNet, section 4.3).

Colour drift: how mean and spread of each channel differ between generated and pre image where nothing happened.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.examples.similarity import Mask, Pixels

CHANNELS = ("red", "green", "blue")
Losses = NDArray[np.float64]  # (patches, timesteps)


def loss_metrics(timesteps: Sequence[int], with_control: Losses, without: Losses | None) -> dict[str, float]:
    """Mean loss and control gap, over everything and per timestep.

    Args:
        timesteps: the middle of each bin.
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
        pre: what it was made from.
        unchanged: where nothing happened; NaN is returned if that is nowhere.

    Returns:
        (2, 3): mean and standard deviation, of red, green, blue, in 0..255.
    """
    if not unchanged.any():
        return np.full((2, 3), np.nan)
    ours, theirs = (pixels[unchanged].astype(np.float64) for pixels in (image, pre))
    return np.stack([ours.mean(axis=0) - theirs.mean(axis=0), ours.std(axis=0) - theirs.std(axis=0)])


def drift_metrics(drifts: Iterable[NDArray[np.float64]]) -> dict[str, float]:
    """Mean over patches: `colour_drift_mean_red`, ..., `colour_drift_std_blue`; nothing without unchanged ground."""
    known: list[Any] = [drift for drift in drifts if not np.isnan(drift).any()]
    if not known:
        return {}
    average = np.mean(known, axis=0)
    return {
        f"colour_drift_{statistic}_{channel}": float(average[row, column])
        for row, statistic in enumerate(("mean", "std"))
        for column, channel in enumerate(CHANNELS)
    }
