"""What was evaluated and how its images were made: the head of the report and of the tables for a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Settings = Mapping[str, Any]


def title(settings: Settings) -> str:
    """Of the page."""
    if "checkpoints" in settings:
        return f"Comparison of {', '.join(settings['checkpoints'])}"
    checkpoint = Path(settings["checkpoint"])
    if checkpoint.parent.name != "checkpoints":
        return f"Evaluation of {checkpoint.name}"
    return f"Evaluation of {checkpoint.parents[1].name}, step {settings['step']:,}"


def origin(settings: Settings) -> list[tuple[str, str]]:
    """Names and values: checkpoints, data, sampling."""
    return [
        *([] if "checkpoints" in settings else _of_checkpoint(settings)),
        ("dataset", f"{settings['dataset']}, split {settings['split']}"),
        *([] if "checkpoints" in settings else [("captions", settings["caption_style"])]),
        ("sampling", f"{settings['scheduler']}, {settings['steps']} steps, guidance {settings['guidance_scale']:g}"),
        ("seed", f"{settings['seed']}, {settings['samples']} per patch"),
        ("images", f"{settings['size']} x {settings['size']} px"),
    ]


def checkpoint_lines(settings: Settings) -> list[str]:
    """Every checkpoint with the start of its hash."""
    several = settings.get("checkpoints", {"": settings})
    return [
        f"{name + ': ' if name else ''}{one['checkpoint']} (sha256 {one['checkpoint_sha256'][:12]})"
        for name, one in several.items()
    ]


def in_words(settings: Settings) -> str:
    """A checkpoint of a comparison, by its own settings."""
    facts = "; ".join(f"{name} {value}" for name, value in _of_checkpoint(settings))
    return (
        f"The images of this checkpoint: {facts}; {settings['size']} px; captions {settings['caption_style']}; "
        f"{settings['scheduler']}."
    )


def _of_checkpoint(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("checkpoint", settings["checkpoint"]),
        ("weights", f"{settings['weights']}, step {settings['step']:,}"),
        ("base", settings["base"]),
    ]
