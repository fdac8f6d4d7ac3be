"""The folder of generated images: every file in it is whole, and `manifest.jsonl` says how each was made."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from generate.errors import GenerateError
from generate.pipeline import Pixels

MANIFEST = "manifest.jsonl"


class ImageFolder:
    """Takes finished images one by one; what an interrupted run leaves behind is whole and listed."""

    def __init__(self, folder: Path, overwrite: bool) -> None:
        """Create the folder, or empty it of what an earlier run listed in its manifest."""
        check_folder(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for name in _listed(folder):
            (folder / name).unlink(missing_ok=True)
        self._manifest = (folder / MANIFEST).open("w", encoding="utf-8")

    def __enter__(self) -> "ImageFolder":
        """Ready to take images."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the manifest."""
        self._manifest.close()

    def add(self, name: str, pixels: Pixels, made: dict[str, Any]) -> None:
        """Write `name`.png whole, then its line of the manifest."""
        file = f"{name}.png"
        write_png(self.folder / file, pixels)
        self._manifest.write(json.dumps({"patch_id": name, "file": file, **made}, ensure_ascii=False) + "\n")
        self._manifest.flush()


def check_folder(folder: Path, overwrite: bool) -> None:
    """Stop if writing there would touch anything but the output of an earlier run that may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise GenerateError(f"out {folder} is a file. Name a folder that does not exist yet.")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    foreign = sorted(names - {MANIFEST, *_listed(folder)})
    if foreign:
        raise GenerateError(f"out {folder} holds {', '.join(foreign[:3])}, which is not ours. Name another folder.")
    if not overwrite:
        raise GenerateError(
            f"out {folder} holds an earlier run. Add --overwrite to replace it, or name another folder."
        )


def write_png(path: Path, pixels: Pixels) -> None:
    """Write a PNG that is either whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        Image.fromarray(pixels).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _listed(folder: Path) -> set[str]:
    """The image files that the manifest of an earlier run names."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return set()
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
        # Only names in this very folder: a manifest cannot point us at other files.
        return {Path(str(json.loads(line)["file"])).name for line in lines}
    except (ValueError, KeyError, TypeError):
        raise GenerateError(f"{manifest}: not a manifest of pre2post generate. Name another folder.") from None
