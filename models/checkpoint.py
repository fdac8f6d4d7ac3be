"""The checkpoint folder: what is in it, how it is written atomically, which one is the newest valid.

checkpoints/step-00001000/
    controlnet/             plain diffusers folder; or lora/, controlnet_lora/, t2i_adapter/, conv_in/
    ema/                    the same, averaged; only with ema_decay > 0
    optimizer.safetensors   moments, named after the parameters
    state.json              step, base, dataset fingerprint, full config, versions, validation loss
    MANIFEST.json           SHA-256 and size of every other file; written last
checkpoints/best            link to the one with the lowest validation loss; without links, a file with its name

Names that begin with a dot are being written or deleted; what a crash left of them is deleted with the next checkpoint.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import Count, Finite, read_document
from data.storage import fault, point, pointed, sha256, sweep, whole_folder

MANIFEST = "MANIFEST.json"
STATE = "state.json"
BEST = "best"
SHIPPED = {  # with the project, trained on its base; see their README.md
    "tiny": Path(__file__).parent / "tiny_controlnet",
    "tiny-mask": Path(__file__).parent / "tiny_mask_controlnet",
}
LONGEST_REASON = 300  # characters of a library's message
ADVICE = "Use another checkpoint of the run."

Side = Annotated[int, Field(ge=8, le=1 << 13, multiple_of=8)]


class Listed(TypedDict):
    """One file in MANIFEST.json."""

    sha256: str
    bytes: Count


class SavedBase(TypedDict):
    """The base that was trained on."""

    name: Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]+$")]
    unet_sha256: str
    family: NotRequired[str]  # earlier versions knew two, which the hash tells apart


class SavedData(TypedDict, total=False):
    """Of `data` in the config: which patches of the datasets were trained on."""

    split: str
    leave_out: list[str]


class SavedTrain(TypedDict, total=False):
    """Of `train` in the config: whether there are averaged weights."""

    ema_decay: Finite


class SavedConfig(TypedDict, total=False):
    """The parts of the config that generation reads."""

    data: SavedData
    train: SavedTrain


class TrainedOn(TypedDict):
    """The patches that weights were trained on."""

    datasets: list[Annotated[str, Field(max_length=4096)]]  # fingerprints, one per stage
    split: str
    leave_out: list[str]  # events
    earlier: NotRequired[list["TrainedOn"]]  # by the checkpoints that the training started from


class State(TypedDict):
    """What generating needs of state.json, as train/saving/run_folder.py describes a run."""

    step: Count
    base: SavedBase
    dataset_fingerprint: Annotated[str, Field(max_length=4096)]
    started_from: NotRequired[list[TrainedOn]]  # what the weights had seen before
    resolution: Side
    patch_px: NotRequired[Annotated[int, Field(ge=1, le=1 << 14)] | None]
    gsd_m: NotRequired[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None]
    caption_style: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: NotRequired[Annotated[str, Field(max_length=5000, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]+$")]]
    trained: Literal[
        "controlnet", "controlnet-lora", "t2i-adapter", "t2i-adapter-light", "lora", "controlnet+lora", "lora+concat"
    ]
    condition: Literal[
        "pixels", "latents", "pixels+mask", "latents+mask", "mask", "coarse2", "coarse4", "coarse8", "hole"
    ]
    base_bits: NotRequired[Literal[4, 8] | None]  # of the base's linear layers; None = as loaded
    metadata: NotRequired[str]  # earlier versions wrote none
    direction: Literal["future", "past", "both"]
    sequence: NotRequired[Annotated[int, Field(ge=1, le=64)]]
    text_chunks: Annotated[int, Field(ge=1, le=64)]
    zero_terminal_snr: bool
    config: SavedConfig


ANYTHING, STATES = TypeAdapter(dict[str, Any]), TypeAdapter(State)
LISTED = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$")], Listed])


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the fix."""


def step_folder(checkpoints: Path, step: int) -> Path:
    """`checkpoints/step-00001000`."""
    return checkpoints / f"step-{step:08d}"


def write_checkpoint(folder: Path, state: dict[str, Any], write_files: Callable[[Path], None]) -> None:
    """Write a checkpoint atomically.

    Args:
        folder: the final folder; an existing one is replaced.
        state: written to state.json.
        write_files: writes weights and moments into the folder it is given.

    Raises:
        CheckpointError: the disk is full or not writable; nothing is left behind.
    """
    try:
        sweep(folder.parent, r"step-\d+", is_ours)
        with whole_folder(folder, is_ours) as partial:
            write_files(partial)
            seal(partial, state)
    except Exception as error:
        if (text := fault(error)) is None:
            raise
        raise CheckpointError(
            f"{folder}: could not be written ({text.rstrip('.')}). Nothing of it was left behind and older checkpoints "
            "are untouched. Then run the same command again."
        ) from error


def seal(folder: Path, state: dict[str, Any]) -> None:
    """Make a folder of weights a checkpoint: write its state.json, then its MANIFEST.json."""
    (folder / STATE).write_text(json.dumps(state, indent=1) + "\n")
    files = {str(path.relative_to(folder)): _describe(path) for path in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1) + "\n")


def is_ours(name: str) -> bool:
    """Whether a checkpoint has a file or folder of this name, relative to it; one with others is never deleted."""
    part = r"(ema/)?(controlnet|controlnet_lora|t2i_adapter|lora|conv_in)(/[\w.-]+\.(json|safetensors))?"
    parts = rf"{part}|ema|(optimizer|weights|ema)\.safetensors"
    return name in (STATE, MANIFEST) or re.fullmatch(parts, name) is not None


def mark_best(folder: Path) -> None:
    """Let `checkpoints/best` point at a checkpoint."""
    point(folder.with_name(BEST), folder.name)


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a checkpoint folder.

    Raises:
        CheckpointError: the folder is not a checkpoint, or its state.json is not a JSON object.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder}: not a checkpoint, it has no {STATE}. Expected a folder like step-00001000.")
    return read_document(path, ANYTHING, ADVICE, CheckpointError)


def trained_state(folder: Path) -> State:
    """What generating needs of state.json.

    Raises:
        CheckpointError: naming the field that is not as training writes it.
    """
    return read_document(folder / STATE, STATES, ADVICE, CheckpointError)


def trained_on(state: State) -> TrainedOn:
    """What the weights of a checkpoint have seen, in its own training and before."""
    data = state["config"].get("data", {})
    own: TrainedOn = {
        "datasets": state["dataset_fingerprint"].split("+"),
        "split": data.get("split", "train"),
        "leave_out": data.get("leave_out", []),
    }
    return {**own, "earlier": state["started_from"]} if state.get("started_from") else own


def listed_files(folder: Path) -> dict[str, Listed]:
    """MANIFEST.json of a checkpoint folder.

    Raises:
        CheckpointError: it is damaged.
    """
    return read_document(folder / MANIFEST, LISTED, ADVICE, CheckpointError)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """One message for whatever the libraries raise for weights that are truncated, missing or of another network."""
    try:
        yield
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # they raise many kinds for an impossible setting or tensor
        reason = str(error).strip().partition("\n")[0][:LONGEST_REASON] or type(error).__name__
        raise CheckpointError(f"{folder}: its weights cannot be used ({reason}). {ADVICE}") from error


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as its manifest says."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return f"{MANIFEST} is missing"
    try:
        files = listed_files(folder)
    except CheckpointError as error:
        return str(error).removeprefix(f"{folder}/").removesuffix(f". {ADVICE}")
    here = [path.relative_to(folder).as_posix() for path in _files(folder)]
    if unlisted := [name for name in here if is_ours(name) and name not in files and name != MANIFEST]:
        return f"{MANIFEST} does not list {unlisted[0]}"
    if STATE not in files:
        return f"{STATE} is missing"
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
    """The checkpoint folders, oldest first, intact or not."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if re.fullmatch(r"step-\d+", path.name))


def newest_valid(checkpoints: Path, report: Callable[[str], None] = print) -> Path | None:
    """The newest checkpoint whose files are intact; each broken one that is skipped is reported with its fault."""
    for folder in reversed(steps_in(checkpoints)):
        if (fault := fault_of(folder)) is None:
            return folder
        report(f"{folder}: passed over, {fault}.")
    return None


def named_checkpoint(path: Path) -> Path:
    """The folder that a user means: one of SHIPPED by its name, unless a folder has that name."""
    return path if path.exists() else SHIPPED.get(str(path), path)


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
    path = pointed(path)
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
