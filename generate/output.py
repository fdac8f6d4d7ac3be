"""The folder of generated images: every file in it is complete, and `manifest.jsonl` records how each was made.

Each process lists what it finishes in its own part, `manifest-0003.jsonl`; the next one to open the folder, or the end
of the run, merges the parts. So an interrupted run loses nothing, whoever resumes it. No image is ever deleted: a
regenerated one replaces the older one of the same name, all others stay.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from data.documents import parse_document
from data.files import read_file
from data.storage import entries, partial_name, sha256, whole, write_text
from data.strict_json import as_json
from generate.errors import GenerateError
from generate.processes import everyone, from_main, wait_for_everyone

MANIFEST = "manifest.jsonl"
WORDS = "words"  # a folder of word maps, one folder for each image
PICTURE = "picture.png"  # all maps of an image over it
_IMAGE = r"[^/\\.][^/\\]*\.(?:png|tif)"
_PART = re.compile(r"manifest-\d{4}\.jsonl")
_PARTIAL = re.compile(rf"\.({_IMAGE}|{re.escape(MANIFEST)})(?:\.pre|\.raster)?\.partial")  # the latter for scenes
_MAP = re.compile(rf"\.?(?:{re.escape(PICTURE)}|[\w+-]+\.(?:both|unet|controlnet)\.png)(?:\.partial)?")
_NAME_BYTES = 255 - len("..raster.partial")  # limit of file systems, less what surrounds the name while writing
# Fields of a line that do not affect the image: checkpoint and pre image are identified by their hashes.
NOT_COMPARED = ("file", "sha256", "checkpoint", "pre", "mask")

Made = dict[str, Any]


def _image(file: str) -> str:
    if not re.fullmatch(_IMAGE, file):
        raise ValueError("expected the name of an image")
    return file


class Line(TypedDict):
    """The fields of every line, and any others."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    file: Annotated[str, AfterValidator(_image)]
    seed: int


LINES = TypeAdapter(Line)


class ImageFolder:
    """Takes finished images one by one, from any number of processes."""

    def __init__(self, folder: Path, wanted: Mapping[str, Made], overwrite: bool) -> None:
        """Create the folder, or find what an earlier run has finished.

        Args:
            folder: to write to.
            wanted: for each file of this run, how it is to be made; the same in every process.
            overwrite: replace those made with other settings.

        Raises:
            GenerateError: the folder contains something else, or images made with other settings.
        """
        self.folder = folder
        self._wanted = wanted
        self.done = from_main(lambda: _open(folder, wanted, overwrite))
        self._part = (folder / f"manifest-{everyone().index:04d}.jsonl").open("w", encoding="utf-8")

    def __enter__(self) -> "ImageFolder":
        """Return the folder, ready for images."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close this process's part; merge the parts unless there was an error."""
        self._part.close()
        if kind is None:
            wait_for_everyone()
            if everyone().is_main:
                _join_parts(self.folder)

    def partial(self, file: str) -> Path:
        """The path `add` writes a file to, for processes that help without writing."""
        return self.folder / partial_name(file)

    def add(self, file: str, write: Callable[[Path], None]) -> None:
        """Write a complete file, and its line of the manifest.

        Args:
            file: one of those wanted.
            write: writes to its argument.
        """
        with whole(self.folder / file) as partial:
            write(partial)
            line = {**self._wanted[file], "file": file, "sha256": sha256(partial)}
            # Listed first: if interrupted in between, the list names a missing file, which is made again.
            self._part.write(as_json(line, None))
            self._part.flush()


def check_names(files: Iterable[str]) -> None:
    """Stop unless every image of a run gets its own file, with a name that the manifest accepts.

    Raises:
        GenerateError: naming the file.
    """
    seen: set[str] = set()
    for file in files:
        if not (re.fullmatch(_IMAGE, file) and file.isprintable() and len(file.encode()) <= _NAME_BYTES):
            raise GenerateError(
                f"{file[:80]!a} is no valid name for an image: expected at most {_NAME_BYTES} bytes, without /, \\, "
                "control characters or a leading dot. Rename the image, or give it a `name` in a batch file."
            )
        if file in seen:
            raise GenerateError(
                f"two images would be written to {file}: samples of an item are named NAME_s1, NAME_s2, ... Give the "
                "items different names."
            )
        seen.add(file)


def check_folder(folder: Path) -> None:
    """Raise if the folder contains anything but the output of an earlier run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise GenerateError(f"out {folder} is a file. Name a folder that does not exist.")
    listed = lines_of(folder)
    foreign = [path.name for path in entries(folder) if not _is_ours(path, listed)]
    if foreign:
        raise GenerateError(f"out {folder} contains other files ({', '.join(foreign[:3])}). Name another folder.")


def check_same(folder: Path, wanted: Mapping[str, Made]) -> None:
    """Resume an earlier run in the same folder only if its settings are the same."""
    for file, line in sorted(lines_of(folder).items()):
        if file in wanted and (differing := _differing(line, wanted[file])):
            old, new = (str(made.get(differing[0]))[:80] for made in (line, wanted[file]))
            raise GenerateError(
                f"out {folder} contains an earlier run: {file} was made with {differing[0]} {old}, not {new}. "
                "Add --overwrite to replace it, or name another folder."
            )


def lines_of(folder: Path) -> dict[str, Made]:
    """Lines of the manifest and its parts by file name, for files that exist.

    Raises:
        GenerateError: a line was not written by pre2post.
    """
    found: dict[str, Made] = {}
    for path in [folder / MANIFEST, *sorted(folder.glob("manifest-*.jsonl"))]:
        if not path.is_file():
            continue
        # A truncated line does not count.
        for number, text in enumerate(read_file(path, "manifest").split(b"\n")[:-1], start=1):
            where = f"{path}: line {number}"
            fix = "Is it from pre2post generate? Name another folder."
            line = parse_document(text, where, LINES, fix, GenerateError)
            found[line["file"]] = dict(line)
    return {file: line for file, line in found.items() if (folder / file).exists()}


def _is_ours(path: Path, listed: Mapping[str, Made]) -> bool:
    if path.name == WORDS and path.is_dir() and not path.is_symlink():
        inside = [
            file for of_image in entries(path) for file in ([of_image] if of_image.is_file() else entries(of_image))
        ]
        return all(_MAP.fullmatch(file.name) and file.is_file() and file.parent != path for file in inside)
    known = path.name == MANIFEST or path.name in listed or _PART.fullmatch(path.name) or _PARTIAL.fullmatch(path.name)
    return bool(known) and path.is_file() and not path.is_symlink()


def _open(folder: Path, wanted: Mapping[str, Made], overwrite: bool) -> set[str]:
    """The files of this run that exist already, complete and made with the same settings."""
    check_folder(folder)
    if not overwrite:
        check_same(folder, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if (left := _PARTIAL.fullmatch(path.name)) and left[1] in wanted:  # left by a killed run
            path.unlink()
    _join_parts(folder)
    return {
        file
        for file, line in lines_of(folder).items()
        if file in wanted and not _differing(line, wanted[file]) and sha256(folder / file) == line.get("sha256")
    }


def _join_parts(folder: Path) -> None:
    lines = sorted(lines_of(folder).values(), key=lambda line: (line["seed"], line["file"]))
    write_text(folder / MANIFEST, "".join(as_json(line, None) for line in lines))
    for path in folder.glob("manifest-*.jsonl"):
        if _PART.fullmatch(path.name):
            path.unlink()


def _differing(line: Made, wanted: Made) -> list[str]:
    return [name for name in {**wanted, **line} if name not in NOT_COMPARED and line.get(name) != wanted.get(name)]
