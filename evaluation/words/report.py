"""What a word study writes: `results.json`, one self-contained `report.html`, and the table in the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.pages.document import document, html_table
from data.storage import write_text
from data.strict_json import as_json
from evaluation.estimate import FEWEST_CLUSTERS
from evaluation.output import IMAGES, REPORT, RESULTS
from evaluation.prompts.report import aligned, cell, escaped, estimated
from evaluation.results import METHODS
from evaluation.words.measures import DAMAGE_WORDS, MEASURES, WORDS, Answer, Row
from generate.output import PICTURE
from generate.output import WORDS as FOLDER

FORMAT = 1
SHOWN = 12  # patches with pictures
# Damage values as greys that can be told apart: background, no damage, minor, major, destroyed; unknown.
SHADES = np.zeros(256, np.uint8)
SHADES[[1, 2, 3, 4, 255]] = 60, 130, 190, 255, 30
PICTURES = ".strip img { max-width: 100%; display: block; margin-bottom: 6px; }"


@dataclass(frozen=True)
class Study:
    """Everything that the outputs show."""

    settings: dict[str, Any]
    answers: list[Answer]
    rows: list[Row]
    names: dict[int, str]  # position -> patch_id


def write_study(folder: Path, study: Study, damage_of: Callable[[int], NDArray[np.uint8]]) -> None:
    """Write report.html, then results.json: its presence says that all is there."""
    write_text(folder / REPORT, _page(folder, study, damage_of))
    content = {
        "format": FORMAT,
        "study": "words",
        **study.settings,
        "words": {word: list(values) for word, values in WORDS.items()},
        "measures": MEASURES,
        "rows": [asdict(row) for row in study.rows],
        "answers": [{**asdict(answer), "patch_id": study.names[answer.position]} for answer in study.answers],
    }
    write_text(folder / RESULTS, as_json(content))


def render(study: Study) -> str:
    """The table as plain text, and what it means."""
    return "\n".join([*aligned(table(study.rows)), "", *sentences(study)])


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Head and one row for each word, method and network."""
    head = ["word", "maps of", "patches"]
    for name in MEASURES.values():
        head += [name, "chance", "minus chance", "minus base"]
    found = [head]
    for row in rows:
        cells = [row.word, f"{METHODS[row.method].name}: {row.network}", str(row.scores["hit"].patches)]
        for key in MEASURES:
            above_base = estimated(row.above_base[key], 1) if row.above_base else "-"
            cells += [estimated(row.scores[key], 1), estimated(row.chance[key], 1),
                      estimated(row.above_chance[key], 1), above_base]  # fmt: skip
        found.append(cells)
    return found


def sentences(study: Study) -> list[str]:
    """For every damage word, whether its maps fit better than chance and the base, both beyond the intervals."""
    whole: dict[str, Row] = {}
    for row in study.rows:  # `both` comes first where there is one
        if row.method == "generated":
            whole.setdefault(row.word, row)
    said = [verdict(whole[word], key) for word in DAMAGE_WORDS if word in whole for key in MEASURES]
    absent = [word for word in DAMAGE_WORDS if word not in whole]
    return [*said, *(f"{word}: not measured, no caption with it has such damage." for word in absent),
            *study.settings["notes"]]  # fmt: skip


def verdict(row: Row, key: str) -> str:
    """Better than by chance and than the base alone, or not certainly."""
    what, ends = f"{row.word} ({MEASURES[key].partition(',')[0]})", (row.above_chance[key], row.above_base[key])
    if any(math.isnan(one.low) for one in ends):
        return f"{what}: no verdict, the patches are of fewer than {FEWEST_CLUSTERS} scenes."
    better = "better" if all(one.low > 0 for one in ends) else "not certainly better"
    return f"{what}: its maps lie on the damage {better} than by chance and than those of the base alone."


def _page(folder: Path, study: Study, damage_of: Callable[[int], NDArray[np.uint8]]) -> str:
    title, settings = "Do word maps lie on the damage?", study.settings
    facts = (
        f"{settings['checkpoint']}, step {settings['step']:,}; {settings['dataset']}, split {settings['split']}; "
        f"{settings['patches']} patches of {settings['scenes']} scenes, {settings['samples']} seed(s); "
        f"captions {settings['caption_style']}; {settings['scheduler']}, {settings['steps']} steps, "
        f"guidance {settings['guidance_scale']:g}"
    )
    heads, *rows = table(study.rows)
    body = [
        f"<header><h1>{title}</h1><p>{escape(facts)}</p></header>",
        f'<div class="verdict">{"".join(f"<p>{escape(text)}</p>" for text in sentences(study))}</div>',
        f"<h2>Numbers</h2><p>In brackets 95 % intervals over scenes.</p>{html_table(heads, escaped(rows))}",
        "<h2>Pictures</h2><p>The damage of the labels, the lighter the worse; the image, and the maps over it.</p>",
    ]
    for position, name in list(study.names.items())[:SHOWN]:
        damage = cell(Image.fromarray(SHADES[damage_of(position)]), "damage", name)
        with Image.open(folder / IMAGES / "generated" / FOLDER / name / PICTURE, formats=("PNG",)) as image:
            maps = cell(image, "maps", name)
        body.append(f'<article><h3>{escape(name)}</h3><div class="strip">{damage}{maps}</div></article>')
    return document(title, body, PICTURES)
