"""How well `pre2post caption --recheck` tells true captions from those with one planted error (docs/captions.md).

On a laptop, minutes:
    pre2post simulate --out rel --scenes 12 --seed 3 && pre2post build --source rel --out sim --size 256
    python -m benchmarks.studies.caption_checker sim
"""

import random
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.captions.check import faults, truth_of_row
from data.captions.layout import COMPASS
from data.captions.words import spelled
from data.sources.events import CAUSES

EACH = 200  # true captions, and captions with an error
COLUMNS = (
    "patch_id event disaster_type labels size pixel_size_m buildings captions".split()  # all that `truth_of_row` reads
)
Row = dict[str, Any]
Plant = Callable[[Row, str, random.Random], "str | None"]

_COUNT = re.compile(
    r"(?P<total>\b(?:one|two|three|four|five|six|seven|eight|nine|ten|[\d,]+)\b)"
    r"(?P<what> in all| are destroyed| have major damage| have minor damage| are undamaged| buildings are destroyed)"
)
_CLASSES = {"destroyed": 4, "major": 3, "minor": 2, "undamaged": 1}
_PLACE = re.compile(rf"(?<=in the )(?:{'|'.join(sorted(COMPASS, key=len, reverse=True))})\b")
_SEVERITY = re.compile(r"(?<=damage to buildings is )(slight|moderate|severe)")
# Words that may be said of a type as well: no error.
TRUE_TOO = {"tsunami": {"flooding", "earthquake"}, "volcano": {"fire"}}
# As vision-language models write of images that the folder's name calls disasters.
RUINED = (
    "Several roofs have been torn off.",
    "Debris is scattered along the road.",
    "Two of the houses have collapsed.",
    "The fields in the foreground are flooded.",
    "Ash covers the ground.",
    "The area appears devastated.",
    "Many homes have been destroyed.",
    "Burn scars surround the houses.",
    "Rubble lies between the buildings.",
    "The aftermath of the storm is visible.",
)


def wrong_count(row: Row, text: str, rng: random.Random) -> str | None:
    """One to three more than any reading of the labels gives: with the buildings that the edge cuts and the unclear."""
    found = list(_COUNT.finditer(text))
    if not found:
        return None
    said = rng.choice(found)
    value = next((value for name, value in _CLASSES.items() if name in said["what"]), None)
    damages = [each["damage"] for each in row["buildings"]]
    most = len(damages) if value is None else damages.count(value) + (damages.count(255) if value == 1 else 0)
    return text[: said.start()] + spelled(most + rng.randint(1, 3)) + text[said.end("total") :]


def opposite_direction(row: Row, text: str, rng: random.Random) -> str | None:
    """One direction turned by 180 degrees."""
    found = list(_PLACE.finditer(text))
    if not found:
        return None
    said = rng.choice(found)
    return text[: said.start()] + COMPASS[(COMPASS.index(said[0]) + 4) % 8] + text[said.end() :]


def other_disaster(row: Row, text: str, rng: random.Random) -> str | None:
    """The words for another type, but for those that may be said of this one as well."""
    kind = row["disaster_type"]
    others = [cause for other, cause in CAUSES.items() if other not in {kind, *TRUE_TOO.get(kind, ())}]
    return text.replace(CAUSES[kind], rng.choice(others), 1) if CAUSES[kind] in text else None


def damage_before(row: Row, text: str, rng: random.Random) -> str:
    """A sentence on damage after the first of the caption of a pre image."""
    first, _, rest = text.partition(". ")
    return f"{first}. {rng.choice(RUINED)} {rest}"


def wrong_severity(row: Row, text: str, rng: random.Random) -> str | None:
    """Another of the three words."""
    said = _SEVERITY.search(text)
    if not said:
        return None
    return (
        text[: said.start()]
        + rng.choice([w for w in ("slight", "moderate", "severe") if w != said[0]])
        + text[said.end() :]
    )


PLANTS: dict[str, tuple[str, Plant]] = {  # kind of fault -> target, how it is planted
    "count": ("post", wrong_count),
    "direction": ("post", opposite_direction),
    "disaster": ("post", other_disaster),
    "damage before": ("pre", damage_before),
    "severity": ("post", wrong_severity),
}


def study(rows: list[Row], seed: int = 0) -> Iterable[tuple[str, int, int, int]]:
    """Lines of the table: what was planted, of how many captions, flagged, flagged as what it is."""
    rng = random.Random(seed)
    known = {row["patch_id"]: truth_of_row(row) for row in rows}
    pairs = [(row, entry) for row in rows for entry in row["captions"] if entry["style"] == "long"]
    true = rng.sample(pairs, min(EACH, len(pairs)))
    flagged = 0
    for row, entry in true:
        found = faults(entry["text"], entry["target"], known[row["patch_id"]])
        flagged += bool(found)
        if found:
            print("true, but flagged:", row["patch_id"], found, entry["text"], file=sys.stderr)
    yield "nothing", len(true), flagged, 0
    for kind, (target, plant) in PLANTS.items():
        fit = [(row, entry["text"]) for row, entry in pairs if entry["target"] == target]
        planted = [(row, text) for row, whole in rng.sample(fit, len(fit)) if (text := plant(row, whole, rng))]
        planted = planted[: EACH // len(PLANTS)]
        found_kinds = [[one.kind for one in faults(text, target, known[row["patch_id"]])] for row, text in planted]
        for (row, text), kinds in zip(planted, found_kinds, strict=True):
            if not kinds:
                print(f"{kind}, missed:", row["patch_id"], text, file=sys.stderr)
        yield kind, len(planted), sum(map(bool, found_kinds)), sum(kind in kinds for kinds in found_kinds)


def main() -> None:
    """Print the table in Markdown."""
    files = sorted((Path(sys.argv[1]) / "data").glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file, columns=COLUMNS).to_pylist()]
    print("| planted error | captions | quarantined | for this reason |\n|---|---:|---:|---:|")
    for kind, number, flagged, right in study(rows):
        print(f"| {kind} | {number} | {flagged} ({flagged / number:.1%}) | {right if kind != 'nothing' else ''} |")


if __name__ == "__main__":
    main()
