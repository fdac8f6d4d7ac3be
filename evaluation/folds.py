"""Evaluations of several folds, each with an event that its training never saw, gathered into one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from data.documents import read_document
from data.storage import write_text
from data.strict_json import as_json
from evaluation.columns import PIXEL_COLUMNS
from evaluation.errors import EvaluationError
from evaluation.estimate import Estimate, weighted_mean
from evaluation.output import RESULTS
from evaluation.report.cells import AREAS, Cell, Table, damage_table, group_table, marked_columns, pixel_table
from evaluation.report.json import FORMAT
from evaluation.report.latex import latex_table
from evaluation.report.terminal import against, aligned, interval_sentence
from evaluation.results import Evaluation, PatchResult, named_rows

NAME = "leave-one-out"
PAIR = ("generated", "copy")


class Written(TypedDict):
    """The field that results.json has in every format."""

    format: int


class Patch(TypedDict):
    """A `PatchResult`; what was not measured is null."""

    patch_id: str
    event: str
    disaster_type: str
    position: int
    seeds: list[int]
    prompt: str
    scores: dict[str, list[dict[str, dict[str, float | None]]]]


class Results(TypedDict):
    """The fields of results.json that are read; others are kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    checkpoint: str
    rows: dict[str, str]
    rows_without_images: dict[str, str]
    per_patch: list[Patch]


def gather(results: Mapping[str, Path]) -> Evaluation:
    """The patches of all folds as if they were one evaluation.

    Args:
        results: name of a fold -> folder of its evaluation.
    """
    contents = {name: read_results(folder) for name, folder in results.items()}
    names = [field.name for field in fields(PatchResult)]
    patches = [
        PatchResult(**{field: _with_nan(patch[field]) for field in names})
        for content in contents.values()
        for patch in content["per_patch"]
    ]
    absent: dict[str, str] = {}
    for content in contents.values():
        absent = content["rows_without_images"] | absent
    for patch in patches:
        for method in absent:  # of some folds only
            patch.scores.pop(method, None)
    checkpoints = {name: content["checkpoint"] for name, content in contents.items()}
    folds = {patch["event"]: name for name, content in contents.items() for patch in content["per_patch"]}
    return Evaluation({"folds": checkpoints}, patches, absent=absent, folds=folds)


def read_results(folder: Path) -> dict[str, Any]:
    """results.json of an evaluation.

    Raises:
        EvaluationError: it is broken, or was written by an earlier pre2post.
    """
    path = folder / RESULTS
    fix = "Delete that folder and run the same command again: the training is kept, and only measured again."
    found = read_document(path, TypeAdapter(Written), fix, EvaluationError)["format"]
    if found != FORMAT:
        raise EvaluationError(f"{path}: format {found}, this pre2post reads {FORMAT}. {fix}")
    return dict(read_document(path, TypeAdapter(Results), fix, EvaluationError))


def macro(evaluation: Evaluation, row: str, region: str, metric: str) -> Estimate:
    """Mean over events, each counting once; its interval shows how much it would vary over other events."""
    return _over_events(evaluation, lambda patches: evaluation.estimate(patches, row, region, metric).value)


def macro_less_than_copying(evaluation: Evaluation, region: str) -> Estimate:
    """Mean over events of the squared error of generated less that of copying, event by event."""

    def less(patches: Sequence[PatchResult]) -> float:
        ours, copy = (evaluation.estimate(patches, row, region, "mse").value for row in PAIR)
        return ours - copy

    return _over_events(evaluation, less)


def _over_events(evaluation: Evaluation, value: Callable[[Sequence[PatchResult]], float]) -> Estimate:
    """Events that were left out together stay together."""
    parts = evaluation.by_event()
    values = np.array([[value(patches)] for patches in parts.values()])
    return weighted_mean(values, np.ones(len(values)), [evaluation.folds[event] for event in parts])


def means(evaluation: Evaluation, row: str) -> dict[str, dict[str, Estimate]]:
    """Region -> metric -> mean over events."""
    found: dict[str, dict[str, Estimate]] = {}
    for region, metric in PIXEL_COLUMNS:
        found.setdefault(region, {})[metric] = macro(evaluation, row, region, metric)
    return found


def write_folds(folder: Path, evaluation: Evaluation) -> str:
    """Write leave-one-out.json and .tex; the tables as text."""
    tables = fold_tables(evaluation)
    missing = named_rows(evaluation.absent)
    write_text(folder / f"{NAME}.tex", "\n".join([*(f"% {line}" for line in missing), *map(latex_table, tables)]))
    rows = evaluation.rows()
    both = set(PAIR) <= set(evaluation.methods)
    less = {region: macro_less_than_copying(evaluation, region) for region in AREAS} if both else {}
    content = {
        **evaluation.settings,
        "rows": rows,
        "rows_without_images": evaluation.absent,
        "mean_over_events": {row: means(evaluation, row) for row in rows},
        "generated_less_copy": less,
        "intervals": interval_sentence(evaluation),
        "all_patches": evaluation.summary(),
        "by_event": {event: evaluation.summary(patches) for event, patches in evaluation.by_event().items()},
    }
    write_text(folder / f"{NAME}.json", as_json(content))
    sentences = [
        f"Mean over events. {against(evaluation, PAIR, region, macro(evaluation, 'copy', region, 'mse'), one)}"
        for region, one in less.items()
    ]
    return "\n".join(
        [*(f"{table.title}\n" + "\n".join(aligned(table)) + "\n" for table in tables), *missing, *sentences]
    )


def fold_tables(evaluation: Evaluation) -> list[Table]:
    """Each event and their mean; the mean over events, and over all patches, by regions; by damage class."""
    events = group_table(evaluation, "Each event, by a training that never saw it", "event", evaluation.by_event())
    mean = [Cell(macro(evaluation, row, area, "mse"), "mse") for area in AREAS for row in evaluation.methods]
    events.rows.append(("mean", "mean over events", mean))
    pooled = pixel_table(evaluation, "All patches of all events")
    rows = [
        (row, name, [Cell(macro(evaluation, row, region, metric), metric) for region, metric in PIXEL_COLUMNS])
        for row, name in evaluation.rows().items()
    ]
    groups = [(region, "", names) for region, _, names in pooled.groups]
    tables = [events, Table("Mean over events", groups, marked_columns(rows)), pooled, damage_table(evaluation)]
    return [table for table in tables if table]


def _with_nan(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Null as NaN."""
    if isinstance(value, dict):
        return {key: _with_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value
