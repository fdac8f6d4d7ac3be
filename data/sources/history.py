"""Images of a place older than its pre image, as a file or a manifest lists them.

    [{"image": "a/2016.tif", "date": "2016-08-31", "cloud_cover": 0.2}, {"image": "a/2015.tif", "date": "2015-06-02"}]

Paths are relative to the file that holds the list.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data.errors import DataError, shortened
from data.files import read_file
from data.jsonl import LONGEST_PATH, check_fields, parse_date, stop

_FIELDS = ("image", "date", "cloud_cover", "gsd")


@dataclass(frozen=True)
class EarlierImage:
    """One image of a place that is older than its pre image."""

    image: Path
    day: date
    cloud_cover: float  # 0..1; NaN = unknown
    gsd_m: float | None  # metres per pixel as taken, if it differs from pre


def read_history(path: Path) -> tuple[EarlierImage, ...]:
    """The images that a file of a release lists, the oldest first."""
    try:
        entries = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}). Expected a list of earlier images.") from None
    return parse_history(entries, path.parent, str(path))


def parse_history(entries: object, folder: Path, where: str) -> tuple[EarlierImage, ...]:
    """The images of a list (null: none), oldest first; paths are relative to `folder`, `where` is named in errors."""
    if entries is None:
        return ()
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{where}: history is {shortened(entries)}, expected a list of objects with image and date.")
    found = [_image(entry, folder, f"{where}, history[{number}]") for number, entry in enumerate(entries)]
    return tuple(sorted(found, key=lambda earlier: earlier.day))


def check_older(history: Sequence[EarlierImage], pre: date | None) -> None:
    """Stop if an image is younger than the pre image, where the date of pre is known."""
    if pre and history and (newest := history[-1]).day > pre:
        raise DataError(
            f"{newest.image}: its date in the history is {newest.day}, after that of the pre image ({pre}). "
            "Images of a history are older than pre: correct the date, or leave the image out."
        )


def _image(entry: dict[str, object], folder: Path, where: str) -> EarlierImage:
    check_fields(entry, where, _FIELDS)
    entry = {name: value for name, value in entry.items() if value is not None}
    image, day = (entry.get(name) for name in ("image", "date"))
    if not isinstance(image, str) or not image or not isinstance(day, str):
        raise DataError(f"{where}: is {shortened(entry)}, expected at least image and date, both texts.")
    path = folder / image
    if not os.path.isfile(path):  # also false for text that cannot be a path
        fix = f"{str(path)[:LONGEST_PATH]} does not exist. Paths are relative to the file that names it"
        stop(where, "image", image, fix)
    return EarlierImage(
        image=path,
        day=parse_date(day, where, "date"),
        cloud_cover=_number(entry, "cloud_cover", where, 0.0, 1.0, "0 to 1") if "cloud_cover" in entry else math.nan,
        gsd_m=_number(entry, "gsd", where, 1e-3, 1e5, "metres per pixel") if "gsd" in entry else None,
    )


def _number(entry: dict[str, object], name: str, where: str, least: float, most: float, meaning: str) -> float:
    value = entry[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise DataError(f"{where}: {name} is {shortened(value)}, expected {meaning}.")
    return float(value)
