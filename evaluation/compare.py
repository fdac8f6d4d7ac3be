"""Compare trained checkpoints, whatever the families of their bases, on the same patches: a row for each in one report.

On a laptop: `pre2post compare --checkpoints runs/first runs/second --dataset d256 --limit 8 --out compared`
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from data.dataset.open import open_dataset
from data.home import at_home
from evaluation.conclude import conclude
from evaluation.damage.model import DamageModel
from evaluation.damage.outside import OutsideModel
from evaluation.errors import EvaluationError
from evaluation.images import make_rows
from evaluation.opened import checkpoint_facts, damage_judge, data_facts, evaluated, listed_patches
from evaluation.options import USUAL_NETWORKS, judging, listed, names_of
from evaluation.output import check_out
from evaluation.protocol import settled
from evaluation.report.origin import in_words
from evaluation.restoring import task_of
from evaluation.results import METHODS, REAL, Method, Published
from generate.checkpoint import Checkpoint, open_base, solved
from generate.images.items import Item, patch_items
from generate.processes import everyone, from_main, join_processes, sole_writer
from generate.sampling import PUBLISHED, Sampling
from models import Base

COPY, BASE = "copy", "base"


@dataclass(frozen=True)
class Entrant:
    """A checkpoint and what it makes images of, before any weight is loaded."""

    trained: Checkpoint
    parts: Base
    base: str | None  # where that is now, if elsewhere
    items: list[Item]
    sampling: Sampling  # by a solver that fits its base

    @property
    def side(self) -> int:
        """Of its images, px."""
        return self.sampling.size or self.trained.resolution

    def facts(self) -> dict[str, Any]:
        """In the outputs."""
        return checkpoint_facts(self.trained, self.base, self.sampling)


def compare(
    *,
    checkpoints: list[str],
    dataset: Path,
    out: Path,
    split: str = "test",
    events: str = "",
    patches: Path | None = None,
    limit: int | None = None,
    protocol: str | None = None,
    methods: str = "copy",
    resolution: int | None = None,
    networks: str = ",".join(USUAL_NETWORKS),
    damage_model: str | None = None,
    caption_style: str | None = None,
    base: list[str] | None = None,
    overwrite: bool = False,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Compare checkpoints with each other and with copying: a row for each, whatever the families of their bases.

    All make images of the same patches from the same captions and seeds, one checkpoint after the other, each at its
    own resolution; they are compared at one. Writes what `evaluate` writes, and continues like it. Each checkpoint is
    held against copying and, patch by patch, against the first one. A base that the scheduler does not fit is sampled
    by the usual one of its family, which the report says.

    Args:
        checkpoints: Run folders (the newest intact checkpoint is meant) or checkpoints/step-*. Their rows are called as
            the runs, or as you say: `NAME=FOLDER`.
        dataset: A folder made by `pre2post build`.
        out: The folder to write.
        split: Which split to compare on.
        events: Compare only on patches of these events, separated by commas; by default of all.
        patches: Compare only on patches that a file lists, as for `evaluate` (docs/protocols.md).
        limit: Compare only on so many patches, evenly spread over the split.
        protocol: Fixes split, events, rows, networks and sampling, and puts published numbers beside yours: official,
            rsedit, leave_one_out, or a .yaml file (docs/protocols.md).
        methods: Rows beside the checkpoints: copy, base (of the first checkpoint, without control).
        resolution: Side of the images that are compared, px; by default that of the smallest. Others are resized to it.
        networks: Which networks to judge with, as for `evaluate`, or `none`.
        damage_model: Score the damage in every row's images by this model, as for `evaluate`.
        caption_style: Style of the captions; by default of each checkpoint's training.
        base: Where bases are now, if not where the training found them: `NAME=FOLDER_OR_ID`, by the name of the row.
        overwrite: Compare again into a folder that holds a finished comparison; unchanged images are kept.
        sampling: How the images are sampled, as by `pre2post generate` with the same options.
    """
    join_processes()
    split, events, methods, resolution, networks, sampling, published = settled(
        protocol, patches, split, events, methods, resolution, networks, sampling
    )
    judged_by, folders = judging(networks), _named(checkpoints)
    bases, beside = _bases(base or [], folders), names_of(methods, "methods", (COPY, BASE))
    with sole_writer(out):
        from_main(lambda: check_out(out, [*folders, BASE], overwrite))
        data = open_dataset(dataset, split)
        names, notes = listed_patches(patches, data, split)
        opened = {name: evaluated(folder, caption_style) for name, folder in folders.items()}
        given = (dataset, split, {"events": listed(events), "patches": names, "limit": limit}, sampling)
        entrants = {name: _entrant(one, bases.get(name), *given) for name, one in opened.items()}
        _check_tasks(entrants)
        sampling = solved(sampling, next(iter(entrants.values())).trained)
        side = resolution or min(one.side for one in entrants.values())
        judge = damage_judge(damage_model, side, data)
        for name, one in entrants.items():  # the networks of one are gone before those of the next are loaded
            rows = [name, BASE] if BASE in beside and one is next(iter(entrants.values())) else [name]
            make_rows(out, one.trained, one.parts, one.items, rows, sampling=one.sampling, overwrite=overwrite)
        if everyone().is_main:
            settings = data_facts(dataset, split, events, patches, limit) | _facts(entrants, sampling, side)
            settings |= {"protocol": protocol, "split_patches": len(data), "damage_model": judge and damage_model}
            _conclude(out, settings, data, entrants, beside, sampling, judged_by, judge, notes, published)


def _facts(entrants: Mapping[str, Entrant], sampling: Sampling, side: int) -> dict[str, Any]:
    checkpoints = {name: one.facts() for name, one in entrants.items()}
    sampled = replace(sampling, size=None).described(side) | {"seed": sampling.seed, "samples": sampling.samples}
    return {"checkpoints": checkpoints, **sampled}


def _conclude(
    out: Path,
    settings: dict[str, Any],
    patches: Dataset,
    entrants: Mapping[str, Entrant],
    beside: Sequence[str],
    sampling: Sampling,
    networks: Sequence[str],
    judge: DamageModel | OutsideModel | None,
    notes: Sequence[str],
    published: Sequence[Published],
) -> None:
    rows = {name: one.items for name, one in entrants.items()}
    named = {name: Method(name, in_words(one.facts()), trained=True) for name, one in entrants.items()}
    usual = task_of(next(iter(entrants.values())).trained)[2]
    named |= {row: usual[row] for row in beside}
    conclude(
        out, settings, patches, rows | dict.fromkeys(beside, next(iter(rows.values()))), sampling=sampling,
        networks=networks, damage_model=judge, published=published,
        trained={f"Checkpoint {name}": one.trained for name, one in entrants.items()}, named=named,
        notes=[*notes, *_notes(entrants, settings["size"], sampling)],
    )  # fmt: skip


def _named(checkpoints: Sequence[str]) -> dict[str, Path]:
    """Row -> folder."""
    found: dict[str, Path] = {}
    for text in checkpoints:
        name, is_named, folder = text.partition("=")
        if Path(text).exists() or not is_named:
            name, folder = _name(Path(os.path.abspath(text))), text
        fix = f"Name the row: --checkpoints NAME={folder}"
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise EvaluationError(
                f"checkpoints: {name!r} names no row; expected letters, digits, and -._+ between them. {fix}"
            )
        if name.lower() in (*METHODS, REAL):
            raise EvaluationError(f"checkpoints: {folder} would be called {name}, which is a row by itself. {fix}")
        if same := next((other for other in found if other.lower() == name.lower()), None):
            raise EvaluationError(f"checkpoints: {found[same]} and {folder} would both be called {name}. {fix}")
        found[name] = at_home(Path(folder))
    return found


def _name(folder: Path) -> str:
    """Of a run, or of one of its checkpoints."""
    if folder.parent.name == "checkpoints":
        return f"{folder.parents[1].name}-{folder.name}"
    return folder.name


def _bases(base: Sequence[str], folders: Mapping[str, Path]) -> dict[str, str]:
    """Row -> where its base is."""
    found = {}
    for text in base:
        name, _, where = text.partition("=")
        if name not in folders or not where:
            raise EvaluationError(
                f"base: {text!r} names no checkpoint. Expected NAME=FOLDER_OR_ID with a NAME of {', '.join(folders)}."
            )
        found[name] = at_home(where)
    return found


def _entrant(
    trained: Checkpoint, base: str | None, dataset: Path, split: str, chosen: dict[str, Any], sampling: Sampling
) -> Entrant:
    items = patch_items(dataset, split, trained, side=sampling.size or trained.resolution, **chosen)
    parts, sampling = open_base(trained, base), solved(sampling, trained)
    fitting = parts.samplers(trained.zero_terminal_snr)
    if sampling.scheduler not in fitting:
        sampling = replace(sampling, scheduler=fitting[0])  # type: ignore[arg-type]  # a name of models/samplers.py
    assert items[0].read
    items[0].read()  # a mask that the network needs and the dataset lacks is missed here
    return Entrant(trained, parts, base, items, sampling)


def _check_tasks(entrants: Mapping[str, Entrant]) -> None:
    """Stop unless all make post images of pre images, or all restore the same."""
    tasks = {
        name: f"{one.trained.condition} at {one.side} px" if task_of(one.trained)[0].restores else "of pre images"
        for name, one in entrants.items()
    }
    if len(set(tasks.values())) > 1:
        raise EvaluationError(
            f"checkpoints: they make post images {', '.join(f'{task} ({name})' for name, task in tasks.items())}. "
            "Compare those of one task."
        )


def _notes(entrants: Mapping[str, Entrant], side: int, sampling: Sampling) -> list[str]:
    """How the checkpoints were not treated alike."""
    notes = []
    resized = [f"{name} ({one.side} px)" for name, one in entrants.items() if one.side != side]
    if resized:
        notes.append(f"Images are compared at {side} px; those of {', '.join(resized)} were resized to it.")
    styles = {name: one.trained.caption_style for name, one in entrants.items()}
    if len(set(styles.values())) > 1:
        own = ", ".join(f"{name} {style}" for name, style in styles.items())
        notes.append(
            f"Each checkpoint was given captions of its training's style: {own}. CLIP-scores are of each one's own "
            f"captions; those of {next(iter(styles))} are shown."
        )
    for name, one in entrants.items():
        if one.sampling.scheduler != sampling.scheduler:
            notes.append(
                f"{sampling.scheduler} does not solve the base of {name}; it was sampled by {one.sampling.scheduler}."
            )
    return notes
