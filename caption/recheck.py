"""Check a file of captions that others made, against the labels of a built dataset; no model is needed."""

import re
from dataclasses import replace
from pathlib import Path

from caption.errors import CaptionError
from caption.patches import patches_of
from caption.verdicts import Verdict, judge, table, write_verdicts
from data.captions.check import Truth
from data.captions.file import CaptionFile
from data.jsonl import read_lines

_PART = re.compile(r"_r\d+_c\d+$")  # of a large raster


def recheck(dataset: Path, file: Path, out: Path) -> None:
    """Copy the lines that pass to `out`, as they are, those that do not beside it, and print the table.

    A line of a whole scene is not held against counts and directions, which differ from patch to patch. Lines that
    belong to no patch of the dataset are left out and counted.

    Raises:
        DataError: the file is not one that `pre2post build --captions` reads.
        CaptionError: none of its lines belongs to the dataset.
    """
    captions, texts = CaptionFile(file), dict(read_lines(file, "captions"))
    known: dict[str, Truth] = {}
    for patch in patches_of(dataset):
        known[patch.id] = patch.truth
        of_scene = replace(patch.truth, counts=None, buildings=(), damage=())
        known[patch.scene_id] = known[_PART.sub("", patch.scene_id)] = of_scene
    verdicts: list[Verdict] = []
    for line in captions.lines:
        if line.id in known:
            verdicts.append(judge(texts[line.number], line.id, line.entry, known[line.id]))
    if not verdicts:
        raise CaptionError(
            f"{file}: no caption is of a patch or scene of {dataset}. Name the dataset they were made for."
        )
    write_verdicts(out, verdicts)
    if others := len(captions.lines) - len(verdicts):
        print(f"{others:,} captions are of no patch or scene of {dataset} and are left out")
    print(table(verdicts, out))
