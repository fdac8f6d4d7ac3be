"""Make the pictures of the docs.

python docs/figures.py pairs --release RELEASE    twelve simulated pairs -> docs/simulated-pairs.jpg
python docs/figures.py demo --results RESULTS     what `make demo` made -> docs/demo.jpg
"""

import json
import random
from pathlib import Path

from jsonargparse import auto_cli
from PIL import Image

from data.dataset.open import open_dataset

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
    measured = json.loads((results / "results.json").read_text())
    rows = open_dataset(Path(measured["dataset"]), measured["split"])
    row_of = {patch_id: row for row, patch_id in enumerate(rows["patch_id"][:])}
    patches = random.Random(seed).sample(sorted(each["patch_id"] for each in measured["per_patch"]), 2 * ACROSS)
    side, gap = 160, 4
    height = 4 * (side + gap) + 2 * gap
    sheet = Image.new("RGB", (ACROSS * (side + gap) - gap, 2 * height - 3 * gap), "white")
    for number, patch_id in enumerate(patches):
        row = rows[row_of[patch_id]]
        made = [Image.open(results / "images" / name / f"{patch_id}.png") for name in ("demo", "tiny")]
        for place, picture in enumerate((row["pre"], *made, row["post"])):
            resized = picture.resize((side, side), Image.Resampling.LANCZOS)
            at = number % ACROSS * (side + gap), number // ACROSS * height + place * (side + gap)
            sheet.paste(resized, at)
    sheet.save(DOCS / "demo.jpg", quality=90)


if __name__ == "__main__":
    auto_cli([pairs, demo], as_positional=False)
