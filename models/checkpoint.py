"""The checkpoint folder: what is in it, how it becomes whole, which one is the newest that can be trusted.

checkpoints/step-00001000/
    controlnet/             plain diffusers folder
    ema/                    the same, averaged; only with ema_decay > 0
    optimizer.safetensors   moments, named after the parameters
    state.json              step, base, dataset fingerprint, whole config, versions, validation loss
    MANIFEST.json           SHA-256 and size of every other file; written last
checkpoints/best            link to the one with the lowest validation loss

Names that begin with a dot are being written or deleted; what a crash left of them goes with the next checkpoint.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from data.storage import sha256

MANIFEST = "MANIFEST.json"
STATE = "state.json"
BEST = "best"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the mend."""


def step_folder(checkpoints: Path, step: int) -> Path:
    """`checkpoints/step-00001000`."""
    return checkpoints / f"step-{step:08d}"


def write_checkpoint(folder: Path, state: dict[str, Any], write_files: Callable[[Path], None]) -> None:
    """Write a checkpoint so that it is either whole or absent.

    Args:
        folder: the final folder; replaced if it is there already.
        state: written to state.json.
        write_files: writes weights and moments into the folder it is given.

    Raises:
        CheckpointError: the disk is full or not writable; nothing is left behind.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        for leftover in folder.parent.glob(".step-*"):
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        write_files(partial)
        (partial / STATE).write_text(json.dumps(state, indent=1) + "\n")
        files = {str(path.relative_to(partial)): _describe(path) for path in _files(partial)}
        (partial / MANIFEST).write_text(json.dumps(files, indent=1) + "\n")
        for path in [*_files(partial), *(path for path in partial.rglob("*") if path.is_dir()), partial]:
            _flush(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{folder}: could not be written ({error}). Nothing of it was left behind and older checkpoints are "
            "untouched. Free some space or mend the folder's permissions, then run the same command again."
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    deleted = folder.with_name(f".{folder.name}.deleted")
    if folder.exists():
        folder.rename(deleted)
    partial.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(deleted, ignore_errors=True)


def delete_checkpoint(folder: Path) -> None:
    """Delete a checkpoint so that a crash leaves no half of it under its name."""
    deleted = folder.with_name(f".{folder.name}.deleted")
    folder.rename(deleted)
    shutil.rmtree(deleted)


def mark_best(folder: Path) -> None:
    """Let `checkpoints/best` point at a checkpoint."""
    link = folder.with_name(f".{BEST}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(folder.with_name(BEST))


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a checkpoint folder."""
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint, it has no {STATE}. Expected a folder like step-00001000.")
    state: dict[str, Any] = json.loads(path.read_text())
    return state


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as its manifest says."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return f"{MANIFEST} is missing"
    try:
        files = json.loads(manifest.read_bytes())
    except ValueError:  # neither UTF-8 nor JSON
        return f"{MANIFEST} is not JSON"
    if STATE not in files:
        return f"{MANIFEST} does not list {STATE}"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            found = _describe(path)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found != expected:
            return f"{name} differs from its hash in {MANIFEST}"
    return None


def steps_in(checkpoints: Path) -> list[Path]:
    """The checkpoint folders, oldest first, whole or not."""
    return sorted(path for path in checkpoints.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def newest_valid(checkpoints: Path, report: Callable[[str], None] = print) -> Path | None:
    """The newest checkpoint whose files are intact; every broken one passed over is reported with its fault."""
    for folder in reversed(steps_in(checkpoints)):
        fault = fault_of(folder)
        if fault is None:
            return folder
        report(f"{folder}: passed over, {fault}.")
    return None


def resolve_checkpoint(path: Path) -> Path:
    """Turn what a user names into one intact checkpoint folder.

    Args:
        path: a checkpoint folder, or a run folder (its newest valid checkpoint is meant).

    Raises:
        CheckpointError: there is none, or the one that was named is broken.
    """
    if (path / "checkpoints").is_dir():
        folder = newest_valid(path / "checkpoints")
        if folder is None:
            raise CheckpointError(
                f"{path / 'checkpoints'}: no valid checkpoint in it. Train longer or name another run."
            )
        return folder
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder. Expected a run folder or one of its checkpoints/step-*.")
    read_state(path)
    if fault := fault_of(path):
        raise CheckpointError(f"{path}: damaged, {fault}. Use another checkpoint of the run.")
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _describe(path: Path) -> dict[str, str | int]:
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _flush(path: Path) -> None:
    """Force a file's contents, or a folder's entries, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
