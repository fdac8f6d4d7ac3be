"""The run folder: new or to be resumed, and what is written beside the weights."""

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.disk import look
from data.errors import DataError
from data.storage import entries, write_text
from models.checkpoint import CheckpointError, newest_valid, read_state, resolve_checkpoint
from train.config import Config, ConfigError, DataConfig, RunConfig, as_plain, changed_settings, save_config

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "datasets", "safetensors", "numpy")

# What a resumed run may set anew without changing the meaning of the steps already done. Dataset and base are
# compared by content, not by name; for `train.steps` see `_changed_past`.
FREE_ON_RESUME = (
    "run.",
    "validation.",
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
        ConfigError: the folder is not empty and holds no run, or cannot be written; `never` where a run is.
        CheckpointError: the checkpoint that was named is missing or damaged.
    """
    out, resume = config.run.out, config.run.resume
    _check_disk(out)
    has_run = (out / CONFIG).is_file()
    if out.exists() and not has_run and entries(out):
        raise ConfigError(f"run.out is {out}: it is not empty and holds no run. Choose a new folder.")
    if resume == "never" and has_run:
        raise ConfigError(f"run.out is {out}: there is a run in it already. Choose a new folder, or run.resume latest.")
    if resume in ("latest", "never"):
        return newest_valid(out / "checkpoints")
    return resolve_checkpoint(Path(resume))


def check_same_experiment(start: Path, config: Config, *, base_hash: str, dataset_fingerprint: str) -> int:
    """The step of a checkpoint, if going on from it with this config means the same experiment; prints what differs.

    Raises:
        CheckpointError: naming every setting that changes the meaning and is not in `run.resume_allow`.
    """
    state = read_state(start)
    changes = {
        name: f"{name} was {old!r} and is now {new!r}"
        for name, (old, new) in changed_settings(_with_defaults(state["config"]), as_plain(config)).items()
    }
    refused = {name: change for name, change in changes.items() if not name.startswith(FREE_ON_RESUME)}
    if _changed_past(state, config):
        refused["train.steps"] = changes["train.steps"] + ", while the learning rate already decays towards the old end"
    if state["base"]["unet_sha256"] != base_hash:
        old = state["base"]["name"]
        refused["model.base"] = f"model.base was {old} and is now another network, {config.model.base}"
    if state["dataset_fingerprint"] != dataset_fingerprint:
        refused["data.dataset"] = "data.dataset has other contents than before"
    refused = {name: change for name, change in refused.items() if name not in config.run.resume_allow}
    if refused:
        raise CheckpointError(
            f"{start}: this is another experiment: {'; '.join(refused.values())}. Set these back to resume, choose a "
            f"new run.out, or allow them: --run.resume_allow='[{','.join(refused)}]'."
        )
    if state["step"] > config.train.steps:
        raise CheckpointError(f"{start}: is past train.steps {config.train.steps}. Raise train.steps to go on.")
    for change in changes.values():
        print(f"resume: {change}.")
    return int(state["step"])


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A config as saved; settings that were not there yet stand at their default, which is what was done then."""
    defaults = as_plain(Config(data=DataConfig(dataset=Path()), run=RunConfig(out=Path())))
    return {group: defaults.get(group, {}) | config.get(group, {}) for group in defaults | config}


def _changed_past(state: dict[str, Any], config: Config) -> bool:
    """Whether another `train.steps` means another learning rate for steps done: the decay counts from the end."""
    old_steps, new_steps, decay_steps = state["config"]["train"]["steps"], config.train.steps, config.train.decay_steps
    last_done = state["step"] - 1
    return old_steps != new_steps and decay_steps > 0 and last_done > min(old_steps, new_steps) - decay_steps


def _check_disk(out: Path) -> None:
    """Stop before anything is computed that could not be saved; nothing is made if the folder is not there yet."""
    try:
        disk = look(out)
    except DataError as error:
        raise ConfigError(f"run.out is {out}, which cannot be written to. {error}") from error
    for lack in disk.lacks():
        print(f"note: the disk of {disk.place} {lack}.")


def open_run_folder(config: Config, step: int) -> None:
    """Write config.yaml and run.json; metrics of steps that will be done again are dropped."""
    out = config.run.out
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG)
    facts = {"command": sys.argv, "versions": versions(), "commit": commit()}
    write_text(out / "run.json", json.dumps(facts, indent=1) + "\n")
    metrics = out / METRICS
    if metrics.is_file():
        kept = [line for line in read_metrics(out) if line["step"] <= step]
        write_text(metrics, "".join(f"{json.dumps(line)}\n" for line in kept))


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last one that a crash cut short does not count."""
    path = out / METRICS
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def describe(
    config: Config, *, base_hash: str, dataset_fingerprint: str, resolution: int, patch_px: int | None
) -> dict[str, Any]:
    """What state.json says beside the step: `patch_px` of the dataset are shown at `resolution`, None = of several."""
    return {
        "base": {"name": config.model.base, "unet_sha256": base_hash},
        "dataset_fingerprint": dataset_fingerprint,
        "resolution": resolution,
        "patch_px": patch_px,
        "trained": config.model.trained,
        "condition": config.model.condition,
        "metadata": config.model.metadata,
        "direction": config.data.direction,
        "sequence": config.data.sequence,
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
    """Git commit of this clone, with `-dirty` if files differ from it; `unknown` outside a clone or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return "unknown"
    return result.stdout.strip() or "unknown"
