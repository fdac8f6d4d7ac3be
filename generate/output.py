"""The folder of generated images: every file in it is whole, and `manifest.jsonl` says how each was made.

Each process lists what it finishes in a part of its own, `manifest-0003.jsonl`; the next one to open the folder, or the
end of the run, puts the parts together. So an interrupted run loses nothing, whoever goes on with it.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import PartialState

from data.storage import sha256
from generate.errors import GenerateError

MANIFEST = "manifest.jsonl"
PARTS = "manifest-*.jsonl"
# Fields of a line that say nothing of how the image was made: checkpoint and pre image are told by their hashes.
NOT_COMPARED = ("file", "sha256", "checkpoint", "pre", "mask")

Made = dict[str, Any]


class ImageFolder:
    """Takes finished images one by one, from any number of processes."""

    def __init__(self, folder: Path, wanted: Mapping[str, Made], overwrite: bool) -> None:
        """Create the folder, or find out what an earlier run has done of this one.

        Args:
            folder: to write.
            wanted: for each file of this run, how it is to be made; the same in every process.
            overwrite: replace what was made otherwise, remove what is not wanted.

        Raises:
            GenerateError: the folder holds something else, or images that were made otherwise.
        """
        self.folder = folder
        self._wanted = wanted
        state = PartialState()
        check_folder(folder)
        kept = _lines(folder)
        if not overwrite:
            _check_same(folder, kept, wanted)
        state.wait_for_everyone()  # all have looked before anyone writes
        if state.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            kept = {file: line for file, line in kept.items() if _is_whole(folder / file, line)}
            if overwrite:
                kept = {file: line for file, line in kept.items() if _is_made(line, wanted.get(file))}
            _tidy(folder, kept)
        state.wait_for_everyone()
        self.done = _lines(folder).keys() & wanted.keys()
        self._part = (folder / f"manifest-{state.process_index:04d}.jsonl").open("w", encoding="utf-8")

    def __enter__(self) -> "ImageFolder":
        """Ready to take images."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close this process's part; put the parts together if all went well."""
        self._part.close()
        if kind is None:
            state = PartialState()
            state.wait_for_everyone()
            if state.is_main_process:
                lines = _lines(self.folder)
                _tidy(self.folder, {file: lines[file] for file in sorted(lines, key=lambda file: _order(lines[file]))})
            state.wait_for_everyone()

    def add(self, file: str, write: Callable[[Path], None]) -> None:
        """Write a file whole, and its line of the manifest.

        Args:
            file: one of those wanted.
            write: writes to the path it is given.
        """
        path = self.folder / file
        partial = path.with_name(f".{file}.partial")
        try:
            write(partial)
            line = {**self._wanted[file], "file": file, "sha256": sha256(partial)}
            # Listed first: stopped in between, the list names a file that is not there, and it is made again.
            self._part.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._part.flush()
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Stop if writing there would touch anything but the output of an earlier run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise GenerateError(f"out {folder} is a file. Name a folder that does not exist yet.")
    listed = _lines(folder)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in listed and not _is_ours(path))
    if foreign:
        raise GenerateError(f"out {folder} holds {', '.join(foreign[:3])}, which is not ours. Name another folder.")


def _is_ours(path: Path) -> bool:
    return path.name == MANIFEST or path.match(PARTS) or (path.name.startswith(".") and path.suffix == ".partial")


def _lines(folder: Path) -> dict[str, Made]:
    """What the manifest and its parts list, by file name."""
    found: dict[str, Made] = {}
    for path in [folder / MANIFEST, *sorted(folder.glob(PARTS))]:
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # a line that was cut short does not count
            try:
                entry = json.loads(line)
                # Only names in this very folder: a manifest cannot point us at other files.
                found[Path(str(entry["file"])).name] = entry
            except (ValueError, KeyError, TypeError):
                raise GenerateError(f"{path}: not a manifest of pre2post generate. Name another folder.") from None
    return found


def _check_same(folder: Path, lines: Mapping[str, Made], wanted: Mapping[str, Made]) -> None:
    """An earlier run in the same folder is gone on with only if it made its images in the same way."""
    for file in sorted(lines.keys() & wanted.keys()):
        if not _is_made(lines[file], wanted[file]):
            raise GenerateError(
                f"out {folder} holds an earlier run: {file} was made with {_difference(lines[file], wanted[file])}. "
                "Add --overwrite to replace it, or name another folder."
            )


def _is_made(line: Made, wanted: Made | None) -> bool:
    return wanted is not None and not _differing(line, wanted)


def _difference(line: Made, wanted: Made) -> str:
    """The first setting that differs, in words."""
    name = _differing(line, wanted)[0]
    old, new = (str(made.get(name))[:80] for made in (line, wanted))
    return f"{name} {old}, not {new}"


def _differing(line: Made, wanted: Made) -> list[str]:
    return [name for name in {**wanted, **line} if name not in NOT_COMPARED and line.get(name) != wanted.get(name)]


def _is_whole(path: Path, line: Made) -> bool:
    return path.is_file() and sha256(path) == line.get("sha256")


def _tidy(folder: Path, kept: Mapping[str, Made]) -> None:
    """Make the manifest list exactly `kept`; files it listed beside them and leftovers of a kill are removed."""
    gone = _lines(folder).keys() - kept.keys()
    partial = folder / f".{MANIFEST}.partial"
    partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept.values()), encoding="utf-8")
    partial.replace(folder / MANIFEST)
    for path in [*(folder / file for file in gone), *folder.glob(PARTS), *folder.glob(".*.partial")]:
        if path.is_dir():  # the scratch file of a scene
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _order(line: Made) -> tuple[int, str]:
    return int(line.get("seed", 0)), str(line["file"])
