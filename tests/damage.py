"""Random damage to files that a program reads: what the property tests of every room feed its readers."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Values that no field is made for: another type, far too large, nested without end, no text.
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 100_000, 10**30, 0.5, float("nan"), float("inf"), -1e308),
    *("", " ", "word", "\0", "\ud800", "x" * 70_000, "../../../x", "/etc/passwd", "<b>"),
    *([], {}, [[]], [None], [1, "a"], {"a": {"b": [1]}}),
)

hostile = settings(
    max_examples=int(os.environ.get("PRE2POST_DAMAGE", "40")),
    derandomize="PRE2POST_DAMAGE" not in os.environ,  # the same damage everywhere; PRE2POST_DAMAGE=1000 looks for more
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.too_slow],
)


def json_damage(content: Any) -> st.SearchStrategy[bytes]:
    """A JSON file with one field lost, or of another value; or with its bytes damaged."""
    whole = json.dumps(content).encode()
    paths = list(_paths(content))
    changed = st.tuples(st.sampled_from(paths), st.sampled_from(ODD)).map(lambda one: _put(content, *one))
    lost = st.sampled_from([path for path in paths if path]).map(lambda path: _drop(content, path))
    deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"[" * 150 + b"]" * 150])
    trees = (changed | lost).map(lambda tree: json.dumps(tree).encode())
    return st.one_of(trees, trees, trees, byte_damage(whole), deep)


def byte_damage(content: bytes) -> st.SearchStrategy[bytes]:
    """A file that is cut off, has other bytes somewhere, is in another encoding, empty or full of zeros."""
    ends = st.integers(0, len(content) - 1)
    cut = ends.map(lambda end: content[:end])
    flipped = st.lists(st.tuples(ends, st.integers(1, 255)), min_size=1, max_size=20).map(lambda at: _flip(content, at))
    other = [b"", b"\0" * len(content), b"\xff\xfe" + content, content + content, b"version https://git-lfs.github.com"]
    return st.one_of(cut, flipped, st.sampled_from(other))


def seal(checkpoint: Path) -> None:
    """Write MANIFEST.json anew, as who damages a checkpoint on purpose would."""
    files = {
        path.relative_to(checkpoint).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != "MANIFEST.json"
    }
    (checkpoint / "MANIFEST.json").write_text(json.dumps(files))


def _paths(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    for key, value in content.items() if isinstance(content, dict) else enumerate(content) if _is_list(content) else ():
        yield from _paths(value, (*above, key))


def _is_list(content: Any) -> bool:
    return isinstance(content, list)


def _put(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    tree = copy.deepcopy(content)
    _parent(tree, path)[path[-1]] = value
    return tree


def _drop(content: Any, path: tuple[Any, ...]) -> Any:
    tree = copy.deepcopy(content)
    del _parent(tree, path)[path[-1]]
    return tree


def _parent(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _flip(content: bytes, places: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, bits in places:
        changed[place] ^= bits
    return bytes(changed)
