"""TensorBoard and Weights & Biases: the same metrics as in metrics.jsonl, and the contact sheets of validations."""

from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from train.config import Config, as_plain
from train.errors import ConfigError

PROJECT = "pre2post"
GROUPS = {  # of the metrics of steps; all others are a validation's
    "train": ("loss", "loss_plain", "grad_norm", "learning_rate", "loss_scale", "skipped_steps"),
    "speed": ("examples_per_second", "data_wait", "peak_memory_gb"),
}


def open_trackers(accelerator: Accelerator, config: Config, run_id: str) -> None:
    """Start the trackers of `run.trackers` in the run folder, with all settings as hyperparameters.

    `run_id` is the run folder's own: wandb resumes the run of that name, if there is one.

    Raises:
        ConfigError: one cannot be started; the message has the fix for wandb without a network.
    """
    out = config.run.out
    settings = {
        f"{group}.{name}": value if isinstance(value, (bool, int, float, str)) else str(value)
        for group, values in as_plain(config).items()
        for name, value in values.items()
    }
    wandb: dict[str, Any] = {
        "dir": str(out), "name": out.name, "group": out.name, "id": run_id, "resume": "allow",
    }  # fmt: skip
    try:
        accelerator.init_trackers(PROJECT, config=settings, init_kwargs={"wandb": wandb})
    except Exception as error:  # every tracker raises its own types
        raise ConfigError(
            f"run.trackers is {config.run.trackers}: could not be started ({type(error).__name__}: {error}). For "
            "wandb, log in (`wandb login`) or set WANDB_MODE=offline and `wandb sync` later; or omit it."
        ) from error


def tag(name: str) -> str:
    """The name of a metric in the trackers, whose pages show what is before the slash as a group."""
    for group in ("validation_loss", "control_gap", "colour_drift"):
        if name.startswith(group):
            return f"{group}/{name.removeprefix(f'{group}_') if name != group else 'mean'}"
    group = next((group for group, names in GROUPS.items() if name in names), "validation")
    return f"{group}/{name}"


def show_picture(accelerator: Accelerator, name: str, picture: NDArray[np.uint8], step: int) -> None:
    """Log an image (H, W, 3) to every tracker."""
    for tracker in accelerator.trackers:
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: picture[None]}, step=step, **layout)
