"""Checkpoints that restore the post image from a damaged copy of it: what is measured, and against what."""

from collections.abc import Mapping

from data.examples.condition import Condition, condition_of
from evaluation.errors import EvaluationError
from evaluation.results import CHANGE, METHODS, Method, Task
from generate.checkpoint import Checkpoint

HOLE = Task(
    "In the hole",
    "Outside of it",
    "The hole: what was taken away from the real post image before the network saw it, ellipses and straight edges, "
    "always the same for a patch.",
    {
        "inside": "The hole, where the ground is known: a part of the real post image that the network was not shown.",
        "outside": "What the network was shown. Cloud, smoke and missing data are left out of both areas.",
    },
    "filled",
    "taken away",
)
MEAN_COLOUR = Method(
    "mean colour",
    "The hole filled with the mean colour of the rest.",
    said=("the mean colour of the rest", "mean colour", "the mean colour"),
)
BICUBIC = Method(
    "bicubic enlargement",
    "What the network is shown: the real post image at a lower resolution, enlarged by bicubic interpolation.",
    said=("the bicubic enlargements", "bicubic", "bicubic enlargement"),
)
GENERATED = "The trained network is shown the real post image, {damaged}, and restores it with the caption."


def task_of(trained: Checkpoint) -> tuple[Condition, Task, Mapping[str, Method]]:
    """The condition of a checkpoint, what its areas are called, and its rows."""
    condition = condition_of(trained.trained, trained.condition)
    if not condition.restores:
        return condition, CHANGE, METHODS
    damaged = "without a hole" if condition.with_hole else "at a lower resolution"
    simplest = MEAN_COLOUR if condition.with_hole else BICUBIC
    generated = Method("generated", GENERATED.format(damaged=damaged), trained=True, said=METHODS["generated"].said)
    return condition, HOLE if condition.with_hole else CHANGE, METHODS | {"generated": generated, "copy": simplest}


def check_methods(trained: Checkpoint, rows: list[str], study: str | None) -> None:
    """Stop at rows and studies that ask for the pre image, if there is none."""
    condition = task_of(trained)[0]
    if condition.pixels and not condition.restores:
        return
    if study or (other := [row for row in rows if row not in ("generated", "copy", "base", "again")]):
        what = f"study: {study} shows" if study else f"methods: {', '.join(other)} edit"
        does = "restores post images" if condition.restores else "is not shown any"
        raise EvaluationError(f"{what} pre images, but {trained.folder} {does} (model.condition {trained.condition}).")
