"""Ways to break the files of a release: test_broken.py."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

Damage = tuple[str, int, int]  # the name of a damage, which file it strikes, and a number for the damage itself

WKTS = (
    "",
    "POLYGON EMPTY",
    "POLYGON ((1 1, 5 5))",
    "POLYGON ((1 1, 5 5, 1 1))",
    "POLYGON ((1 1, 9 9, 9 1, 1 9, 1 1))",  # crosses itself
    "POLYGON ((1 1, nan 9, 9 1, 1 1))",
    "POLYGON ((1 1, inf 9, 9 1, 1 1))",
    "POLYGON Z ((1 1 5, 9 1 5, 9 9 5, 1 1 5))",
    "MULTIPOLYGON (((1 1, 9 1, 9 9, 1 1)), ((20 20, 30 20, 30 30, 20 20)))",
    "GEOMETRYCOLLECTION (POINT (1 1), POLYGON ((1 1, 9 1, 9 9, 1 1)))",
    "LINESTRING (1 1, 9 9)",
    "POLYGON ((-1e300 -1e300, 1e300 -1e300, 1e300 1e300, -1e300 -1e300))",
    "POLYGON ((-1e9 -1e9, 1e9 -1e9, 1e9 1e9, -1e9 1e9, -1e9 -1e9))",
    "POLYGON ((900 900, 950 900, 950 950, 900 900))",
    "POLYGON ((1 1, 9 1, 9 9, 1 9, 1 1), (0 0, 60 0, 60 60, 0 60, 0 0))",  # a hole larger than the house
    "POLYGON ((1 1, 1 9, 1 20, 1 1))",
    "POLYGON ((1 1, 9 1",
    "\ud800",
)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e300, 10**400, float("nan"), "", "x", "2018", "2018-13-45T00:00:00.000Z", "0001-01-01", [], {},
    "\ud800", "<b>&amp;</b>", "a\nb\x00c", "2010-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z",
)  # fmt: skip
NAMES = (
    "x.png",
    "Übung 1.png",
    "test_pre_00121.png",
    "a\nb.png",
    ".hidden",
    "hurricane-michael_00000000_pre_disaster.PNG",
)
MODES = ("L", "RGBA", "P", "1", "I;16", "LA", "CMYK", "F")


def damages() -> st.SearchStrategy[list[Damage]]:
    """Some damages, one after the other."""
    one = st.tuples(st.sampled_from(sorted(DAMAGES)), st.integers(0, 99), st.integers(0, 10_000))
    return st.lists(one, max_size=5)


def break_release(root: Path, struck: list[Damage]) -> None:
    """Do the damages."""
    for name, which, number in struck:
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            DAMAGES[name](files[which % len(files)], number)


def _cut(path: Path, number: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: number % (len(content) + 1)])


def _flip(path: Path, number: int) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[number * 7919 % len(content)] ^= 1 << number % 8
        path.write_bytes(content)


def _text(path: Path, number: int) -> None:
    path.write_text(("not what it seems", "[" * 100_000, '{"features": 1e999}', "null", f"[{'9' * 5000}]")[number % 5])


def _remove(path: Path, number: int) -> None:
    path.unlink()


def _folder(path: Path, number: int) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path, number: int) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _dead_link(path: Path, number: int) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _unreadable(path: Path, number: int) -> None:
    path.chmod(0)  # root reads it all the same


def _rename(path: Path, number: int) -> None:
    path.rename(path.with_name(NAMES[number % len(NAMES)]))


def _odd_bytes(path: Path, number: int) -> None:
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe.png"))


def _other_size(path: Path, number: int) -> None:
    if path.suffix == ".png":
        Image.new("RGB", (1 + number % 130, 1 + number // 130 % 130), (90, 90, 90)).save(path)


def _other_mode(path: Path, number: int) -> None:
    if path.suffix == ".png":
        mode = MODES[number % len(MODES)]
        Image.new(mode, (64, 64)).save(path, format="TIFF" if mode in ("CMYK", "F") else "PNG")


def _bomb(path: Path, number: int) -> None:
    """A PNG of a few bytes that says that it is 50000 px wide."""
    if path.suffix == ".png":
        side = (12_000, 20_000, 50_000)[number % 3]
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", header)
            + _chunk(b"IDAT", zlib.compress(bytes(99)))
            + _chunk(b"IEND", b"")
        )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    try:
        document = json.loads(path.read_bytes())
        change(document)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError):
        return  # broken before, or no label
    path.write_text(json.dumps(document))


def _polygon(path: Path, number: int) -> None:
    def change(document: dict[str, Any]) -> None:
        features = document["features"][("xy", "lng_lat")[number % 2]]
        features[number // 2 % len(features)]["wkt"] = WKTS[number // 8 % len(WKTS)]

    _edit(path, change)


def _property(path: Path, number: int) -> None:
    def change(document: dict[str, Any]) -> None:
        features = document["features"][("xy", "lng_lat")[number % 2]]
        name = ("uid", "subtype", "feature_type")[number // 2 % 3]
        features[number // 6 % len(features)]["properties"][name] = VALUES[number // 24 % len(VALUES)]

    _edit(path, change)


def _metadata(path: Path, number: int) -> None:
    def change(document: dict[str, Any]) -> None:
        names = sorted(document["metadata"])
        document["metadata"][names[number % len(names)]] = VALUES[number // len(names) % len(VALUES)]

    _edit(path, change)


def _lose(path: Path, number: int) -> None:
    def change(document: dict[str, Any]) -> None:
        parent = (document, document["features"], document["metadata"])[number % 3]
        del parent[sorted(parent)[number // 3 % len(parent)]]

    _edit(path, change)


def _swap_phases(path: Path, number: int) -> None:
    other = path.with_name(path.name.replace("_pre_", "_x_").replace("_post_", "_pre_").replace("_x_", "_post_"))
    if other != path and other.is_file():
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "bomb": _bomb,
    "cut": _cut,
    "dead link": _dead_link,
    "flip": _flip,
    "folder": _folder,
    "loop": _loop,
    "lose": _lose,
    "metadata": _metadata,
    "odd bytes": _odd_bytes,
    "other mode": _other_mode,
    "other size": _other_size,
    "polygon": _polygon,
    "property": _property,
    "remove": _remove,
    "rename": _rename,
    "swap phases": _swap_phases,
    "text": _text,
    "unreadable": _unreadable,
}
