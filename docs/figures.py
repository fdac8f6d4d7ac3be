"""Make the pictures of the docs.

python docs/figures.py pairs --release RELEASE    twelve simulated pairs -> docs/simulated-pairs.jpg
python docs/figures.py demo --results RESULTS     what `make demo` made -> docs/demo.jpg
python docs/figures.py asked --synthetic PAIRS    invented damage and its images -> docs/asked.jpg
python docs/figures.py restored --hole SCORES --coarse8 SCORES    restored images -> docs/restored.jpg
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from data.dataset.open import open_dataset
from data.examples.condition import CONDITIONS
from data.examples.holes import as_image, patch_hole
from generate.region.card import COLOURS
from generate.synthesize import MASKS, POST, PRE

DOCS = Path(__file__).parent
ACROSS = 6  # patches beside each other
PAIRS = (
    ("willowford-flooding", 0, "larkmere-flooding", 0),
    ("cape-dorring-wind", 0, "harrow-plain-wind", 1),
    ("juniper-creek-fire", 0, "redgum-ridge-fire", 0),
    ("monte-alvo-earthquake", 1, "sierra-cobre-earthquake", 1),
    ("isla-verada-tsunami", 0, "pelican-bay-tsunami", 1),
    ("cerro-umbra-volcano", 1, "mount-askel-volcano", 0),
)


def pairs(release: Path) -> None:
    """Contact sheet of `pre2post simulate --out RELEASE --scenes 36 --seed 0`.

    Args:
        release: that folder.
    """
    side, gap = 256, 8
    sheet = Image.new("RGB", (4 * side + gap, 6 * side), "white")
    for row, (left, left_number, right, right_number) in enumerate(PAIRS):
        for column, (event, number) in enumerate(((left, left_number), (right, right_number))):
            for place, phase in enumerate(("pre", "post")):
                (path,) = release.glob(f"*/images/{event}_{number:08d}_{phase}_disaster.png")
                picture = Image.open(path).resize((side, side), Image.Resampling.LANCZOS)
                sheet.paste(picture, (column * (2 * side + gap) + place * side, row * side))
    sheet.save(DOCS / "simulated-pairs.jpg", quality=88)


def demo(results: Path, seed: int = 0) -> None:
    """Twelve random patches of `make demo`, from top: pre, generated after its own training, by what ships, true post.

    Args:
        results: its folder `results`.
        seed: of the choice.
    """
    chosen = measured_patches(results, 2 * ACROSS, seed)
    columns = [[row["pre"], *(made(results, name, row) for name in ("demo", "tiny")), row["post"]] for _, row in chosen]
    sheet_of(columns).save(DOCS / "demo.jpg", quality=90)


def asked(synthetic: Path, seed: int = 0) -> None:
    """Twelve random pairs of `pre2post synthesize`, from top: pre, damage asked for, generated.

    Args:
        synthetic: its folder.
        seed: of the choice.
    """
    columns = []
    for name in random.Random(seed).sample(sorted(path.name for path in (synthetic / POST).glob("*.png")), 2 * ACROSS):
        pre, mask, post = (Image.open(synthetic / kind / name) for kind in (PRE, MASKS, POST))
        columns.append([pre, Image.fromarray(COLOURS[np.asarray(mask)]), post])
    sheet_of(columns).save(DOCS / "asked.jpg", quality=90)


def restored(hole: Path, coarse8: Path, seed: int = 0) -> None:
    """Six random patches with a hole, six at an eighth of the resolution; from top: shown, generated, true post.

    Args:
        hole: what `pre2post evaluate` wrote for a checkpoint that fills holes.
        coarse8: the same for super-resolution.
        seed: of the choice.
    """
    columns = []
    for condition, results in (("hole", hole), ("coarse8", coarse8)):
        for position, row in measured_patches(results, ACROSS, seed):
            picture = made(results, "generated", row)
            mask = as_image(patch_hole(position, picture.width)) if condition == "hole" else None
            shown = CONDITIONS[condition].shown(row["post"], mask, picture.width)
            columns.append([Image.fromarray(shown[..., :3]), picture, row["post"]])
    sheet_of(columns).save(DOCS / "restored.jpg", quality=90)


def measured_patches(results: Path, number: int, seed: int) -> list[tuple[int, dict[str, Any]]]:
    """Random patches of an evaluation: place in the split and row."""
    measured = json.loads((results / "results.json").read_text())
    rows = open_dataset(Path(measured["dataset"]), measured["split"])
    place = {patch_id: row for row, patch_id in enumerate(rows["patch_id"][:])}
    chosen = random.Random(seed).sample(sorted(each["patch_id"] for each in measured["per_patch"]), number)
    return [(place[patch_id], rows[place[patch_id]]) for patch_id in chosen]


def made(results: Path, method: str, row: dict[str, Any]) -> Image.Image:
    """The generated image of a patch."""
    return Image.open(results / "images" / method / f"{row['patch_id']}.png")


def sheet_of(columns: list[list[Image.Image]], side: int = 160, gap: int = 4) -> Image.Image:
    """Columns of pictures, ACROSS beside each other."""
    height = len(columns[0]) * (side + gap) + 2 * gap
    sheet = Image.new("RGB", (ACROSS * (side + gap) - gap, len(columns) // ACROSS * height - 3 * gap), "white")
    for number, column in enumerate(columns):
        for place, picture in enumerate(column):
            at = number % ACROSS * (side + gap), number // ACROSS * height + place * (side + gap)
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), at)
    return sheet


if __name__ == "__main__":
    auto_cli([pairs, demo, asked, restored], as_positional=False)
