"""What a run folder holds besides checkpoints, read back without any network: config, starts, metrics."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import Count, read_document
from train.errors import ConfigError

CONFIG = "config.yaml"
FACTS = "run.json"
METRICS = "metrics.jsonl"
ADVICE = "Name the folder of a run (run.out) that this version of pre2post trained."


class Start(TypedDict):
    """One start of the run."""

    step: Count  # completed before it
    time: str  # UTC, ISO 8601
    processes: Count
    changed: dict[str, Any]  # setting, version or commit -> [what it was at the start before, what it is now]


class Facts(TypedDict):
    """What run.json holds; command, versions and commit are those of the last start."""

    id: str
    command: list[str]
    versions: dict[str, str]
    commit: str
    starts: NotRequired[list[Start]]  # earlier versions recorded none


FACTS_SCHEMA = TypeAdapter(Facts)


def read_facts(out: Path) -> Facts:
    """run.json.

    Raises:
        ConfigError: it is missing, damaged or of another version.
    """
    return read_document(out / FACTS, FACTS_SCHEMA, ADVICE, ConfigError)


def read_config(out: Path) -> dict[str, dict[str, Any]]:
    """config.yaml as it was written, perhaps by another version.

    Raises:
        ConfigError: it is missing or damaged.
    """
    path = out / CONFIG
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}). {ADVICE}") from None
    if not isinstance(content, dict) or not all(isinstance(group, dict) for group in content.values()):
        raise ConfigError(f"{path}: expected groups of settings, as training writes them. {ADVICE}")
    return {str(group): {str(name): value for name, value in part.items()} for group, part in content.items()}


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
