"""The run folder: new or to be resumed, and what is written beside the weights."""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.checkpoint import CheckpointError, newest_valid, read_state, resolve_checkpoint
from train.config import Config, ConfigError, as_plain, changed_settings, save_config

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "datasets", "safetensors", "numpy")

# What a resumed run may set anew without changing the meaning of the steps already done. Dataset and base are
# compared by content, not by name.
FREE_ON_RESUME = (
    "run.",
    "train.steps",
    "train.micro_batch",
    "model.gradient_checkpointing",
    "model.base_checkpointing",
    "model.attention",
    "model.channels_last",
    "model.compile",
    "data.dataset",
    "model.base",
)


def find_start(config: Config) -> Path | None:
    """The checkpoint to go on from, or None for a fresh run.

    Raises:
        ConfigError: the folder is not empty and holds no run; or `never` was asked for where a run is.
        CheckpointError: the checkpoint that was named is missing or damaged.
    """
    out, resume = config.run.out, config.run.resume
    has_run = (out / CONFIG).is_file()
    if out.exists() and not has_run and any(out.iterdir()):
        raise ConfigError(f"run.out is {out}: it is not empty and holds no run. Choose a new folder.")
    if resume == "never" and has_run:
        raise ConfigError(f"run.out is {out}: there is a run in it already. Choose a new folder, or run.resume latest.")
    if resume in ("latest", "never"):
        return newest_valid(out / "checkpoints")
    return resolve_checkpoint(Path(resume))


def check_same_experiment(start: Path, config: Config, *, base_hash: str, dataset_fingerprint: str) -> int:
    """The step of a checkpoint, if going on from it with this config means the same experiment.

    Raises:
        CheckpointError: naming every setting that differs.
    """
    state = read_state(start)
    problems = [
        f"{name} was {old!r} and is now {new!r}"
        for name, (old, new) in changed_settings(state["config"], as_plain(config)).items()
        if not name.startswith(FREE_ON_RESUME)
    ]
    if state["base"]["unet_sha256"] != base_hash:
        problems.append(f"model.base was {state['base']['name']} and is now another network, {config.model.base}")
    if state["dataset_fingerprint"] != dataset_fingerprint:
        problems.append("data.dataset has other contents than before")
    if problems:
        raise CheckpointError(
            f"{start}: this is another experiment: {'; '.join(problems)}. "
            "Set these back to resume, or choose a new run.out."
        )
    if state["step"] > config.train.steps:
        raise CheckpointError(f"{start}: is past train.steps {config.train.steps}. Raise train.steps to go on.")
    return int(state["step"])


def open_run_folder(config: Config, step: int) -> None:
    """Write config.yaml and run.json; metrics of steps that will be done again are dropped."""
    out = config.run.out
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG)
    facts = {"command": sys.argv, "versions": versions(), "commit": commit()}
    (out / "run.json").write_text(json.dumps(facts, indent=1) + "\n")
    metrics = out / METRICS
    if metrics.is_file():
        kept = [line for line in metrics.read_text().splitlines() if json.loads(line)["step"] <= step]
        metrics.write_text("".join(f"{line}\n" for line in kept))


def describe(config: Config, *, base_hash: str, dataset_fingerprint: str, resolution: int) -> dict[str, Any]:
    """What state.json says beside the step."""
    return {
        "base": {"name": config.model.base, "unet_sha256": base_hash},
        "dataset_fingerprint": dataset_fingerprint,
        "resolution": resolution,
        "trained": config.model.trained,
        "condition": config.model.condition,
        "direction": config.data.direction,
        "caption_style": max(config.data.caption_styles, key=config.data.caption_styles.__getitem__),
        "text_chunks": config.data.text_chunks,
        "zero_terminal_snr": config.objective.zero_terminal_snr,
        "config": as_plain(config),
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that decide the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def commit() -> str:
    """Git commit of this clone, with `-dirty` if files differ from it; `unknown` outside a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
