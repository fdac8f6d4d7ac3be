"""Lists of patches, as benchmarks publish them: what to measure on, or whose scenes to test on."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from datasets import Dataset

from data.captions.file import RSCC_FIELDS
from data.errors import DataError, shortened
from data.jsonl import parse_object, read_lines
from data.names import patch_of_quarter

NAMED_BY = ("patch_id", "scene_id", "pre_image", "post_image")  # in a JSON line; the first that is there counts
FIELDS = ("patch_id", "scene_id", *RSCC_FIELDS)
_IMAGE = re.compile(r"(.+)_(?:pre|post)_disaster")


def read_patch_list(path: Path) -> list[str]:
    """Ids of patches and scenes, each once, in the order of the file.

    Args:
        path: a line each: a patch_id, a scene_id, or the path of an image of either, as xBD calls scenes and RSCC their
            quarters of 512 px; or a JSON object with one of these under a name of NAMED_BY.

    Raises:
        DataError: the file cannot be read, or a line names nothing.
    """
    names = dict.fromkeys(_name(text.strip(), f"{path}, line {number}") for number, text in read_lines(path, "patches"))
    if not names:
        raise DataError(f"patches {path}: names none. Expected a patch_id, a scene_id or an image per line.")
    return list(names)


def listed_positions(rows: Dataset, names: Sequence[str], where: str) -> tuple[list[int], list[str]]:
    """Positions of the patches that a list names, themselves or by their scene; and the names that none has.

    Raises:
        DataError: the rows hold none of them; `where` is the split.
    """
    wanted, found, met = set(names), [], set[str]()
    for position, ids in enumerate(zip(rows["patch_id"][:], rows["scene_id"][:], strict=True)):
        if here := wanted.intersection(ids):
            found.append(position)
            met |= here
    if not found:
        raise DataError(
            f"patches: {where} has none of the {len(names):,} that are listed, first {shortened(names[0])}; its own "
            f"first is {rows['patch_id'][0]}. Name the right --split, of a dataset built with the --size of the list."
        )
    return found, [name for name in names if name not in met]


def _name(text: str, where: str) -> str:
    if text.startswith("{"):
        content = parse_object(text, where, FIELDS, [])
        text = next((str(content[name]) for name in NAMED_BY if name in content), "")
        if not text:
            raise DataError(f"{where}: names no patch; expected one of {', '.join(NAMED_BY)}.")
    name = PurePosixPath(text).name
    stem = re.sub(r"\.(png|tiff?)$", "", name, flags=re.IGNORECASE)
    return patch_of_quarter(stem) or (image[1] if (image := _IMAGE.fullmatch(stem)) else stem)
