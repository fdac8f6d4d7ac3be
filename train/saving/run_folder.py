"""The run folder: new or resumed, and what is written besides the weights."""

import json
import platform
import subprocess
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.storage import write_text
from data.strict_json import as_json
from train.config import Config, as_plain, save_config
from train.errors import ConfigError
from train.saving.retention import set_aside

CONFIG = "config.yaml"
FACTS = "run.json"
METRICS = "metrics.jsonl"
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def open_run_folder(config: Config, step: int) -> str:
    """Write config.yaml and run.json; metrics of steps that will be repeated are dropped.

    Returns:
        The run's id, the same at every start.
    """
    out = config.run.out
    kept = [line for line in read_metrics(out) if line["step"] <= step]
    out.mkdir(parents=True, exist_ok=True)
    if config.run.go_back:
        set_aside(out / "checkpoints", step)
    save_config(config, out / CONFIG)
    run_id = _run_id(out / FACTS)
    facts = {"id": run_id, "command": sys.argv, "versions": versions(), "commit": commit()}
    write_text(out / FACTS, as_json(facts))
    if (out / METRICS).is_file():
        write_text(out / METRICS, "".join(as_json(line, None) for line in kept))
    return run_id


def _run_id(facts: Path) -> str:
    """The id in run.json, or a new one."""
    try:
        return str(json.loads(facts.read_bytes())["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return uuid.uuid4().hex[:8]


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; what a crash left at the end, half a line or zeros, is ignored.

    Raises:
        ConfigError: there is something else between the lines.
    """
    path = out / METRICS
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # after the last newline is half a line
    found = [_metrics_of(line) for line in lines]
    while found and found[-1] is None:
        found.pop()
    if None in found:
        raise ConfigError(
            f"{path}: line {found.index(None) + 1} is no line of metrics, an object with its step. Remove it, or "
            "move the file away; the checkpoints do not need it."
        )
    return [line for line in found if line is not None]


def _metrics_of(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("step"), int) else None


def describe(
    config: Config, *, base_hash: str, dataset_fingerprint: str, resolution: int, patch_px: int | None
) -> dict[str, Any]:
    """Fields of state.json besides the step: patches of `patch_px` are resized to `resolution`, None = it varies."""
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
    """Versions of Python and of the packages that affect the results."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def commit() -> str:
    """Git commit of this clone, with `-dirty` if files differ from it; `unknown` outside a clone or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return "unknown"
    return result.stdout.strip() or "unknown"
