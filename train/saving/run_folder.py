"""The run folder: new or resumed, and what is written besides the weights."""

import platform
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.commit import commit
from data.storage import write_text
from data.strict_json import as_json
from models.checkpoint import TrainedOn
from train.config import Config, as_plain, changed_settings, save_config
from train.errors import ConfigError
from train.inputs.recipe import main_style
from train.saving.retention import set_aside
from train.saving.run_files import CONFIG, FACTS, METRICS, Facts, Start, read_config, read_facts, read_metrics

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def open_run_folder(config: Config, step: int, processes: int = 1) -> str:
    """Write config.yaml and run.json; metrics of steps that will be repeated are dropped.

    run.json lists every start with the step it goes on from and what changed since the one before.

    Returns:
        The run's id, the same at every start.
    """
    out = config.run.out
    kept = [line for line in read_metrics(out) if line["step"] <= step]
    out.mkdir(parents=True, exist_ok=True)
    if config.run.go_back:
        set_aside(out / "checkpoints", step)
    former, before = _former(out)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = Facts(
        id=former["id"] if former else uuid.uuid4().hex[:8],
        command=sys.argv,
        versions=versions(),
        commit=commit(),
        starts=former.get("starts", []) if former else [],
    )
    changed = dict(changed_settings(before, as_plain(config))) if before else {}
    if former:
        old, new = ({"commit": each["commit"], **each["versions"]} for each in (former, facts))
        changed |= {name: (old.get(name), new[name]) for name in new if old.get(name) != new[name]}
    facts["starts"].append(Start(step=step, time=now, processes=processes, changed=changed))
    save_config(config, out / CONFIG)
    write_text(out / FACTS, as_json(facts))
    if (out / METRICS).is_file():
        write_text(out / METRICS, "".join(as_json(line, None) for line in kept))
    return facts["id"]


def _former(out: Path) -> tuple[Facts | None, dict[str, dict[str, Any]] | None]:
    """What the start before wrote; None where it is missing or damaged, which no resumed run depends on."""
    facts = config = None
    with suppress(ConfigError):
        facts = read_facts(out)
    with suppress(ConfigError):
        config = read_config(out)
    return facts, config


def describe(
    config: Config,
    *,
    family: str,
    base_hash: str,
    dataset_fingerprint: str,
    started_from: Sequence[TrainedOn],
    scale: Mapping[str, Any],
) -> dict[str, Any]:
    """Fields of state.json besides the step; `scale` has those of `scale_of`."""
    return {
        "base": {"name": config.model.base, "unet_sha256": base_hash, "family": family},
        "dataset_fingerprint": dataset_fingerprint,
        "started_from": list(started_from),
        **scale,
        "trained": config.model.trained,
        "condition": config.model.condition,
        "base_bits": config.model.base_bits,
        "metadata": config.model.metadata,
        "direction": config.data.direction,
        "sequence": config.data.sequence,
        "caption_style": main_style(config.data),
        "text_chunks": config.data.text_chunks,
        "zero_terminal_snr": config.objective.zero_terminal_snr,
        "config": as_plain(config),
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the results."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
