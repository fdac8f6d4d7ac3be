"""The file of `pre2post satellite`: a JSON list of images to generate, each with its own settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from data.documents import read_document
from data.errors import shortened
from data.jsonl import LONGEST_TEXT
from generate.errors import GenerateError
from generate.output import check_names
from generate.sampling import GUIDANCE_EXPECTED, LARGEST_SEED, MOST_GUIDANCE, MOST_PX, MOST_STEPS, is_side
from models.diffusionsat.metadata import MetadataError, natural_metadata

LONGEST_REASON = 300  # characters of an error that are quoted
ENTRIES = TypeAdapter(Annotated[list[Any], Field(min_length=1)])
# field: its types, and its value where an entry has none; the first two are required.
FIELDS: dict[str, tuple[tuple[type, ...], Any]] = {
    "prompt": ((str,), None),
    "output": ((str,), None),
    "metadata": ((dict,), {}),
    "steps": ((int,), 50),
    "guidance": ((int, float), 7.5),
    "size": ((int, list), None),
    "seed": ((int,), 0),
}


@dataclass(frozen=True)
class SatelliteItem:
    """One image to generate."""

    prompt: str
    output: str  # file name, .png
    metadata: dict[str, float | None]  # natural units, see models/diffusionsat/metadata.py
    steps: int
    guidance: float
    size: tuple[int, int] | None  # (width, height) in px; None = the base's own
    seed: int


def read_items(path: Path) -> list[SatelliteItem]:
    """Read and check the whole file before any image is generated.

    Raises:
        GenerateError: names the file, the entry (counted from 0), the field and the fix.
    """
    fix = "Expected a list of at least one object with prompt and output."
    entries = read_document(path, ENTRIES, fix, GenerateError)
    items = [_item(entry, f"{path}: entry {index}") for index, entry in enumerate(entries)]
    outputs = [item.output for item in items]
    if twice := sorted({name for name in outputs if outputs.count(name) > 1}):
        raise GenerateError(f"{path}: output {twice[0]} is used by several entries. Give each its own name.")
    return items


def _item(entry: Any, where: str) -> SatelliteItem:  # noqa: ANN401 (straight from JSON)
    if not isinstance(entry, dict):
        raise GenerateError(f"{where} is {shortened(entry)}. Expected an object with prompt and output.")
    if unknown := sorted(set(entry) - set(FIELDS)):
        raise GenerateError(f"{where} has a field {shortened(unknown[0])}. Expected {', '.join(FIELDS)}.")
    values = {}
    for field, (types, default) in FIELDS.items():
        if field not in entry and default is None and field != "size":
            raise GenerateError(f"{where} has no {field}. Add it.")
        value = values[field] = entry.get(field, default)
        if field in entry and (not isinstance(value, types) or isinstance(value, bool)):
            names = " or ".join(kind.__name__ for kind in types)
            raise GenerateError(f"{where}: {field} is {shortened(value)}. Expected {names}.")
    output = values["output"]
    if Path(output).name != output or not output.endswith(".png"):
        raise GenerateError(
            f"{where}: output is {shortened(output)}. Expected a file name ending in .png, without folders."
        )
    check_names([output])
    for wrong, field, expected in (
        (len(values["prompt"]) > LONGEST_TEXT, "prompt", f"at most {LONGEST_TEXT:,} characters"),
        (not 1 <= values["steps"] <= MOST_STEPS, "steps", f"1 to {MOST_STEPS}, usually 20 to 50"),
        (not 0 <= values["guidance"] <= MOST_GUIDANCE, "guidance", GUIDANCE_EXPECTED),
        (not 0 <= values["seed"] <= LARGEST_SEED, "seed", f"0 to {LARGEST_SEED:,}"),
    ):
        if wrong:
            raise GenerateError(f"{where}: {field} is {shortened(values[field])}. Expected {expected}.")
    try:
        natural_metadata(values["metadata"])
    except (MetadataError, TypeError, ValueError) as error:
        raise GenerateError(f"{where}: {str(error)[:LONGEST_REASON]}") from None
    return SatelliteItem(**values | {"size": _size(values["size"], where)})


def _size(size: Any, where: str) -> tuple[int, int] | None:  # noqa: ANN401 (straight from JSON)
    if size is None:
        return None
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and is_side(side) for side in sides):
        raise GenerateError(
            f"{where}: size is {shortened(size)}. Expected a side in px, or [width, height], multiples of 8, at most "
            f"{MOST_PX:,}."
        )
    return sides[0], sides[1]
