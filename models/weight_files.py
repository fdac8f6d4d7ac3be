"""Weights on disk, in every layout that diffusers and transformers write; the one place where a pickle is opened.

unet/diffusion_pytorch_model.safetensors                     whole
unet/diffusion_pytorch_model.fp16.safetensors                a variant
unet/diffusion_pytorch_model-00001-of-00002.safetensors      shards, with diffusion_pytorch_model.safetensors.index.json
unet/diffusion_pytorch_model.bin                             a pickle: any of these layouts, read by `convert` only
"""

import hashlib
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from models.base_config import read_json
from models.errors import BaseError

SAFE, PICKLE = ".safetensors", ".bin"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of diffusers, of transformers, of its pickles
VARIANTS = (None, "fp32", "fp16", "bf16")  # the same weights, the most exact first
LFS_POINTER = b"version https://git-lfs"
# Names that diffusers before 0.18 gave to the attention of a VAE -> those of today.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Layout:
    """How the weights of one part are stored in its folder."""

    file: str  # the weights, or the index of their shards
    variant: str | None

    @property
    def sharded(self) -> bool:
        """Whether there are several files."""
        return self.file.endswith(".json")

    def shards(self, names: Sequence[str]) -> list[str]:
        """The index, and among a folder's file names those of the shards."""
        stem, suffix = self.file.split(".")[:2]
        shard = re.compile(rf"{stem}{f'.{self.variant}' if self.variant else ''}-\d+-of-\d+\.{suffix}")
        return [self.file, *(name for name in names if shard.fullmatch(name))]


def find_layout(names: Sequence[str], suffix: str = SAFE) -> Layout | None:
    """The weights among the file names of a part's folder; where there is a choice, those without a variant."""
    for variant in VARIANTS:
        dotted = f".{variant}" if variant else ""
        for stem in STEMS:
            layouts = [f"{stem}{suffix}.index{dotted}.json", f"{stem}{dotted}{suffix}"]
            if stem != STEMS[0]:
                layouts.reverse()  # if both exist, diffusers takes the shards and transformers does not
            if found := [name for name in layouts if name in names]:
                return Layout(found[0], variant)
    return None


def weight_files(folder: Path, suffix: str = SAFE) -> list[Path]:
    """The files that hold the weights of one part, each checked without reading the weights.

    Args:
        folder: of the part, e.g. BASE/unet.
        suffix: SAFE or PICKLE.

    Raises:
        BaseError: there are none, a shard or the index is missing, a file is truncated or a pointer of git-lfs.
    """
    names = sorted(path.name for path in folder.iterdir())
    layout = find_layout(names, suffix)
    if layout is None:
        raise BaseError(f"{folder}: no {suffix} weights. {_advice(folder, names, suffix)}")
    files = _shards(folder / layout.file) if layout.sharded else [folder / layout.file]
    for path in files:
        _check_whole(path)
    return files


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The state dict in a part's folder, on the CPU: of .safetensors if there are any, or else of pickles.

    Raises:
        BaseError: there is none, it is damaged, or its pickle holds anything but tensors.
    """
    names = [path.name for path in folder.iterdir()]
    suffix = PICKLE if find_layout(names) is None and find_layout(names, PICKLE) else SAFE
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder, suffix):
        weights |= load_file(path) if suffix == SAFE else _unpickled(path)
    return weights


def shapes_in(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in .safetensors files, by `canonical` names; no tensor is read."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            shapes |= {canonical(name): tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return shapes


def check_fit(folder: Path, build: Callable[[], nn.Module]) -> None:
    """Stop unless the weight files of a part hold every tensor of its network, in its shape; none is read.

    Args:
        folder: of the part, e.g. BASE/unet.
        build: makes the network from its config; its weights take no memory here.

    Raises:
        BaseError: they do not, or the config is invalid.
    """
    try:
        with torch.device("meta"):
            network = build()
        reason = _misfit(network, weight_files(folder))
    except BaseError:
        raise
    except Exception as error:  # the libraries raise many kinds for an impossible setting
        raise unfit(folder, error) from error
    if reason:
        raise unfit(folder, reason)


def unfit(folder: Path, reason: object) -> BaseError:
    """The error to raise for weights that their network cannot take."""
    return BaseError(f"{folder}: the weights do not fit config.json ({reason}). Copy the whole folder again.")


def _misfit(network: nn.Module, files: Sequence[Path]) -> str | None:
    """The first tensor of a network that .safetensors files lack or hold in another shape; None if there is none."""
    found, tied = shapes_in(files), getattr(network, "_tied_weights_keys", None) or {}  # to another tensor, saved once
    for name, tensor in network.state_dict().items():
        shape = found.get(canonical(name))
        if is_weight(name) and not (name in tied and shape is None) and shape != tuple(tensor.shape):
            return f"{name} should be of shape {tuple(tensor.shape)}, and is {shape or 'missing'}"
    return None


def canonical(name: str) -> str:
    """A tensor's name as today's libraries save it: older ones and transformers' own changes are undone."""
    name = re.sub(r"\.(query|key|value|proj_attn)(?=\.)", lambda old: f".{OLD_ATTENTION[old[1]]}", name)
    return name.removeprefix("text_model.")


def is_weight(name: str) -> bool:
    """Whether a tensor is not `position_ids`, a buffer 0..76 that older libraries saved."""
    return not name.endswith("position_ids")


def tensors_sha256(files: Sequence[Path]) -> str:
    """SHA-256 over the canonical names, shapes and values of all tensors in .safetensors files.

    Values are hashed as float32, which holds float16 and bfloat16 exactly: a network casts its weights to the type it
    computes in, so the same values are the same network in whichever of these types, names and files they were saved.
    """
    return _tensors_sha256(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache
def _tensors_sha256(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Once per process and state of the files: a full-size UNet takes seconds."""
    lines: list[str] = []
    for path, _, _ in files:
        with safe_open(path, framework="pt") as file, ThreadPoolExecutor(8) as threads:  # hashing frees the GIL
            names = [name for name in file.keys() if is_weight(name)]
            lines += threads.map(lambda name, file=file: _line(canonical(name), file.get_tensor(name)), names)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _line(name: str, tensor: Tensor) -> str:
    values = (tensor.float() if tensor.is_floating_point() else tensor.long()).contiguous().numpy()
    return f"{name} {tuple(tensor.shape)} {hashlib.sha256(values.data).hexdigest()}"


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all of them there."""
    places = read_json(index).get("weight_map")
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name for name in names):  # nothing outside the folder is opened
        raise BaseError(f"{index}: not an index of weights, {{'weight_map': {{tensor: file}}}}. Copy it again.")
    missing = [name for name in names if not index.with_name(name).is_file()]
    if missing:
        raise BaseError(
            f"{index.with_name(missing[0])} is missing, {len(missing)} of the {len(names)} files that {index.name} "
            "names. Copy the whole folder again."
        )
    return [index.with_name(name) for name in names]


def _check_whole(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise BaseError(f"{path}: a git-lfs pointer, not the weights. Run `git lfs pull` in that folder.")
        if path.suffix == SAFE:
            safe_open(path, framework="pt").__enter__().__exit__(None, None, None)  # compares header and length
    except (OSError, SafetensorError) as error:
        raise BaseError(f"{path}: cannot be read ({error}). Copy it again; it may be truncated.") from error


def _advice(folder: Path, names: Sequence[str], suffix: str) -> str:
    """What to do about a folder without weights."""
    if suffix == SAFE and any(name.endswith(PICKLE) for name in names):
        return (
            f"Only .bin weights are there; nothing is unpickled here. Make a clean folder of it: "
            f"pre2post convert --source {folder.parent} --out {folder.parent}-clean"
        )
    if shards := [name for name in names if re.search(r"-\d+-of-\d+\.", name)]:
        return (
            f"It has {shards[0]}, but not the index of the shards, *{suffix}.index.json. Copy the whole folder again."
        )
    others = [name for name in names if name.endswith((SAFE, PICKLE))]
    found = f"Found {', '.join(others[:3])}; e" if others else "E"
    return f"{found}xpected {STEMS[0]}{suffix} or {STEMS[1]}{suffix}. Copy the whole diffusers folder again."


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("Please file an issue")[0].strip()
        raise BaseError(
            f"{path}: refused. Its pickle holds more than tensors, or is damaged, and opening it could run any program "
            f"({reason}). Get the file from a source you trust, as .safetensors if there is one."
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise BaseError(f"{path}: cannot be read ({error}). Copy it again; it may be truncated.") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise BaseError(f"{path}: not a plain state dict of tensors. Save the network's own state_dict().")
    # Views of one storage would be saved once each.
    return {name: tensor.clone().contiguous() for name, tensor in weights.items()}
