"""The state of a set on disk: what it is made of, which tiles are done, and who works on which shard.

`set.json` is written first and must stay true. A shard's record has one line per tile, in their order, and is complete
when it has the name without `.partial`. Whoever holds the lock of a shard makes it; the system releases it on any kill.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import parse_document, read_document
from data.errors import BusyError
from data.storage import locked, write_text
from data.strict_json import as_json
from generate.errors import GenerateError

SET, RECORDS = "set.json", "records"
ADVICE = "Restore it from a copy, or make the set anew in another folder."
NOT_COMPARED = ("checkpoint",)  # identified by its hash
_DONE = re.compile(r"shard-(\d{8})\.jsonl")
Count = Annotated[int, Field(ge=0, le=1 << 40)]


class Record(TypedDict):
    """What became of a tile."""

    tile: Count
    outcome: Literal["kept", "dropped", "no place"]
    region: str
    disaster: str
    severity: Count
    tried: Count  # places
    passed_over: dict[str, Count]  # places, and why
    attempts: Count  # images
    rejected: list[str]  # why, one for each attempt that was
    scene_id: NotRequired[str]
    counts: NotRequired[dict[str, Count]]  # buildings of each class
    source: NotRequired[str]
    lon: NotRequired[float]
    lat: NotRequired[float]
    phash: NotRequired[str]
    seen: NotRequired[float]
    outside: NotRequired[float]
    files: NotRequired[dict[str, str]]  # sha256


LINES = TypeAdapter(Record)
SETS = TypeAdapter(dict[str, Any])
OF_A_PAIR = {"scene_id", "counts", "source", "lon", "lat", "phash", "files"}


def begin(out: Path, facts: Mapping[str, Any]) -> None:
    """Write `set.json`, or compare it with the facts of this command.

    Raises:
        GenerateError: the folder holds another set, or something else.
    """
    with locked(out, name=".set.lock", wait=True):
        path = out / SET
        text = as_json(dict(facts))
        if path.is_file():
            _check_same(path, json.loads(text))
            return
        if others := sorted(one.name for one in out.iterdir() if one.name != ".set.lock" and one.suffix != ".partial"):
            raise GenerateError(f"out {out} contains other files ({', '.join(others[:3])}). Name another folder.")
        write_text(path, text)


def _check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    found = read_document(path, SETS, ADVICE, GenerateError)
    if different := next(_differences(found, wanted, ""), None):
        where, old, new = different
        raise GenerateError(
            f"out {path.parent} holds a set made with other settings: {where} was {old:.200}, and is {new:.200} now. "
            "A set has one plan, with the same images, checkpoint and judge. Name another --out, or bring it back."
        )


def _differences(one: object, other: object, where: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other} - set(NOT_COMPARED)):
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, f"{where}[{i}]")
    elif one != other:
        yield where, as_json(one, None).rstrip(), as_json(other, None).rstrip()


def complete(out: Path) -> set[int]:
    """The shards that are done."""
    folder = out / RECORDS
    names = (_DONE.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return {int(found[1]) for found in names if found}


def shard_path(out: Path, number: int) -> Path:
    """The complete record of a shard."""
    return out / RECORDS / f"shard-{number:08d}.jsonl"


class Shard:
    """The tiles of one shard, one after the other, by whoever holds its lock."""

    def __init__(self, out: Path, number: int, tiles: Sequence[int]) -> None:
        self.path, self.tiles, self.number = shard_path(out, number), tiles, number
        self._partial = self.path.with_name(f"partial-{number:08d}.jsonl")
        self._lines: list[str] = []
        self._lock = locked(out / RECORDS, name=f".shard-{number:08d}.lock")

    def claim(self) -> bool:
        """Whether it is ours now, and not done already."""
        try:
            self._lock.__enter__()
        except BusyError:
            return False
        if self.path.exists():
            self.release()
            return False
        if self._partial.is_file():
            found = [record["tile"] for record in read_lines(self._partial)]
            if found != list(self.tiles[: len(found)]):
                raise GenerateError(f"{self._partial}: its tiles are not those of shard {self.number}. {ADVICE}")
            with self._partial.open(encoding="utf-8") as file:
                self._lines = list(file)
            if len(self._lines) == len(self.tiles):  # killed before the last step of `add`
                self._partial.replace(self.path)
                self.release()
                return False
        return True

    def release(self) -> None:
        """Let others have it."""
        self._lock.__exit__(None, None, None)

    def missing(self) -> Sequence[int]:
        """The tiles that are not done."""
        return self.tiles[len(self._lines) :]

    def add(self, record: Record) -> None:
        """The next tile is done, and its files are on the disk."""
        assert record["tile"] == self.tiles[len(self._lines)]
        self._lines.append(as_json(dict(record), None))
        write_text(self._partial, "".join(self._lines))
        if len(self._lines) == len(self.tiles):
            self._partial.replace(self.path)


def read_lines(path: Path) -> Iterator[Record]:
    """The tiles of a record.

    Raises:
        GenerateError: it is not ours, or damaged.
    """
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            record = parse_document(line, f"{path}, line {number}", LINES, ADVICE, GenerateError)
            if record["outcome"] == "kept" and (missing := OF_A_PAIR - record.keys()):
                raise GenerateError(f"{path}, line {number}: {min(missing)} is missing. {ADVICE}")
            yield record


def all_records(out: Path, shards: int) -> Iterator[Record]:
    """Every tile of a complete set, one shard in memory at a time."""
    for number in range(shards):
        yield from read_lines(shard_path(out, number))
