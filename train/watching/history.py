"""What a run has written so far, read back for its report: config, starts, metrics, pictures of validations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from data.documents import read_document
from data.errors import shortened
from data.examples.similarity import Pixels
from data.pages.lines import Line
from train.errors import ConfigError
from train.saving.run_files import ADVICE, CONFIG, METRICS, Facts, Start, read_config, read_facts, read_metrics
from train.watching.contact_sheet import COLUMNS, GAP_PX, HEADER_PX
from train.watching.report import IMAGES, SCORES

LARGEST = 1e30
MOST_SHEETS, MOST_PATCHES = 8, 6  # of the validations, evenly spread, and of the patches of each


class Named(TypedDict):
    """An entry of scores.json."""

    patch_id: str


NAMED = TypeAdapter(list[Named])


@dataclass(frozen=True)
class Sheet:
    """The pictures of one validation."""

    step: int
    patches: dict[str, tuple[Pixels, ...]]  # patch_id -> pre, generated, real


@dataclass(frozen=True)
class History:
    """One run."""

    folder: Path
    config: dict[str, dict[str, Any]]  # by group; as written, perhaps by another version
    facts: Facts
    lines: list[dict[str, Any]]  # of metrics.jsonl, by step

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def step(self) -> int:
        """The last one that is logged."""
        return int(self.lines[-1]["step"])

    @property
    def steps(self) -> int:
        """In total, 0 if the config does not say."""
        steps = self.config.get("train", {}).get("steps")
        return steps if isinstance(steps, int) else 0

    @property
    def resumes(self) -> list[Start]:
        """Every start but the first."""
        return self.facts.get("starts", [])[1:]

    def values(self, metric: str) -> list[tuple[float, float]]:
        """(step, value) wherever the metric is logged and finite."""
        found = ((line["step"], line.get(metric)) for line in self.lines)
        return [(step, float(value)) for step, value in found if is_number(value)]

    def line(self, metric: str, name: str, colour: int | None = None) -> Line:
        """The same for a chart."""
        return Line(name, self.values(metric), colour)

    def bins(self, metric: str) -> list[str]:
        """`validation_loss_t125`, ...: the metric at each timestep, in order."""
        names = {name for line in self.lines for name in line if name.startswith(f"{metric}_t")}
        of = {name: name.removeprefix(f"{metric}_t") for name in names}
        return sorted((name for name in of if of[name].isdecimal()), key=lambda name: int(of[name]))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of metrics.jsonl can be drawn; NaN and what would overflow an axis cannot."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def read_run(folder: Path) -> History:
    """Read a run folder.

    Raises:
        ConfigError: naming the file that is missing, damaged or of another version.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no run, it has no {CONFIG}. {ADVICE}")
    config, facts = read_config(folder), read_facts(folder)
    lines = read_metrics(folder)
    if not lines:
        raise ConfigError(f"{folder / METRICS}: no metrics yet; the first come after run.log_every steps.")
    for line in lines:
        if not 0 <= line["step"] < 1 << 53:
            raise ConfigError(f"{folder / METRICS}: step is {shortened(line['step'])}; expected 0 or more. {ADVICE}")
    return History(folder, config, facts, sorted(lines, key=lambda line: int(line["step"])))


def read_sheets(run: History) -> list[Sheet]:
    """Validations from the first to the last, evenly spread.

    Raises:
        ConfigError: a contact sheet that training did not write.
    """
    steps = [int(line["step"]) for line in run.lines if is_number(line.get("validation_loss"))]
    folders = {step: run.folder / "validation" / f"step-{step:08d}" for step in steps}
    shown = [step for step in folders if (folders[step] / IMAGES).is_file()]
    picked = (
        sorted({shown[number] for number in np.linspace(0, len(shown) - 1, MOST_SHEETS).round().astype(int)})
        if shown
        else []
    )
    return [Sheet(step, _tiles(folders[step])) for step in picked]


def _tiles(folder: Path) -> dict[str, tuple[Pixels, ...]]:
    """The pictures of a contact sheet, see train/watching/contact_sheet.py."""
    names = [entry["patch_id"] for entry in read_document(folder / SCORES, NAMED, ADVICE, ConfigError)]
    try:
        with Image.open(folder / IMAGES, formats=("PNG",)) as image:
            sheet = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{folder / IMAGES}: cannot be read ({error}). Move the folder away.") from None
    cell = (sheet.shape[1] + GAP_PX) // len(COLUMNS)
    side = cell - GAP_PX
    if sheet.shape[:2] != (HEADER_PX + len(names) * cell - GAP_PX, len(COLUMNS) * cell - GAP_PX) or side < 1:
        raise ConfigError(f"{folder / IMAGES}: is not the contact sheet of {len(names)} patches. Move the folder away.")
    corners = {name: HEADER_PX + row * cell for row, name in enumerate(names[:MOST_PATCHES])}
    return {
        name: tuple(sheet[top : top + side, column * cell : column * cell + side] for column in range(len(COLUMNS)))
        for name, top in corners.items()
    }
