"""The files of the cache: packs of entries, indexed by key.

A pack is a safetensors file whose header names the keys of its rows. `index.json` repeats them, so that startup reads
one file instead of thousands; it is updated from the packs where they disagree. Any number of processes and
runs may write into one folder at the same time.
"""

import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.errors import fault
from data.storage import whole
from data.strict_json import as_json
from train.errors import ConfigError, TrainingError

INDEX = "index.json"
NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
LEFTOVER = re.compile(r"\.?(index|[0-9a-f]{32})\.\S+-\d+\.(safetensors|json)(\.partial)?")
LEFTOVER_SECONDS = 3600

Places = NDArray[np.int64]  # (entries, 2): number of the pack, row in it; -1 = nowhere


def find(folder: Path, keys: list[str]) -> tuple[list[Path], Places]:
    """The packs that hold some of the keys, and the location of each key."""
    packs = _packs(folder) if folder.is_dir() else {}
    rows = {key: (name, row) for name, pack in packs.items() for row, key in enumerate(pack["keys"])}
    found = [rows.get(key) for key in keys]
    names = sorted({place[0] for place in found if place})
    number = {name: n for n, name in enumerate(names)}
    places = [(number[place[0]], place[1]) if place else (-1, -1) for place in found]
    return [folder / name for name in names], np.array(places, dtype=np.int64).reshape(-1, 2)


def write_pack(folder: Path, keys: list[str], tensors: dict[str, Tensor]) -> None:
    """Write some entries: one row per key in every tensor.

    Raises:
        TrainingError: it cannot be written.
    """
    path = folder / f"{hashed(keys)}.safetensors"
    try:
        _put(path, lambda partial: save_file(tensors, partial, {"keys": json.dumps(keys)}))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: the cache could not be written ({fault(error) or error}). Entries encoded so far are kept. Name "
            "another run.cache, or set run.cache_in to memory or off."
        ) from error


@lru_cache(maxsize=4096)  # a handle per pack and process; each holds a memory map, no data
def open_pack(path: Path) -> Any:  # noqa: ANN401 (safe_open has no public type)
    """A handle on a file returned by `find`.

    Raises:
        TrainingError: it is corrupt, though its size is right.
    """
    try:
        return safe_open(path, framework="pt").__enter__()
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: a cache file that cannot be read ({error}). Delete it; the next start encodes it again."
        ) from None


def make_folder(folder: Path) -> None:
    """Create the folder and remove leftovers of killed processes; a live one takes seconds per file, not hours.

    Raises:
        ConfigError: it is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"run.cache is {folder.parent}: {fault(error)} Or set run.cache_in to memory or off."
        ) from error
    for path in folder.iterdir():
        with suppress(OSError):  # a live process has just finished it
            if LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def hashed(value: list[Any]) -> str:
    """A key, or the name of a pack: 32 hexadecimal digits."""
    return sha256(json.dumps(value).encode()).hexdigest()[:32]


def _packs(folder: Path) -> dict[str, dict[str, Any]]:
    """For every pack its size in `bytes` and the `keys` of its rows; updates the index."""
    index = _read_index(folder / INDEX)
    with os.scandir(folder) as files:
        sizes = {file.name: file.stat().st_size for file in files if NAME.fullmatch(file.name)}
    packs = {
        name: index[name]
        if name in index and index[name]["bytes"] == size
        else {"bytes": size, "keys": _keys_of(folder / name)}
        for name, size in sorted(sizes.items())
    }
    if packs != index:
        with suppress(OSError):  # a read-only cache works without it
            _put(folder / INDEX, lambda path: path.write_text(as_json(packs, None), encoding="utf-8"))
    return packs


def _read_index(path: Path) -> dict[str, dict[str, Any]]:
    """The index; empty if missing or invalid."""
    try:
        packs = json.loads(path.read_bytes()).items()
        return {name: {"bytes": int(pack["bytes"]), "keys": list(map(str, pack["keys"]))} for name, pack in packs}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _keys_of(path: Path) -> list[str]:
    """Keys of a pack's rows; none if it is corrupt or of an older format."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = json.loads((file.metadata() or {}).get("keys", "[]"))
            whole_rows = all(file.get_slice(name).get_shape()[0] == len(keys) for name in file.keys())
            return keys if whole_rows else []
    except (OSError, SafetensorError, ValueError):
        return []


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write a complete file under this process's own name first: another run may be writing the same one."""
    mine = path.with_name(f"{path.stem}.{socket.gethostname()}-{os.getpid()}{path.suffix}")
    with whole(mine) as partial:
        write(partial)
    mine.replace(path)
