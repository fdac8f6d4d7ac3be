"""A clean folder from a DiffusionSat release: safetensors only, today's names, loaded by one call.

pre2post convert --source finetune_sd21_sn-satlas-fmow_snr5_md7norm_bs64 --out diffusionsat-512 --resolution 512
"""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin
from diffusers.schedulers import KarrasDiffusionSchedulers
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from data.progress import Bar
from models.base_config import read_json, single_file_advice
from models.diffusionsat.controlnet import modern_names
from models.diffusionsat.kind import controlnet_class
from models.diffusionsat.multi_controlnet import sibling_folders
from models.diffusionsat.pipeline import SatPipeline
from models.errors import BaseError
from models.families.diffusionsat import DiffusionSat
from models.text import open_tokenizer
from models.weight_files import is_weight, read_weights

SCHEDULERS = [kind.name for kind in KarrasDiffusionSchedulers]


def convert(
    *, source: Path, out: Path, unet: str = "unet", controlnet: str | None = None, resolution: int | None = None
) -> None:
    """Make a clean base folder from a released DiffusionSat or Stable Diffusion folder.

    Reads only tensors from .bin weights; a file that holds anything else is refused. Values and precision
    do not change. The result is what `load_base`, training and `SatPipeline.from_pretrained` take.

    Args:
        source: The released folder; it is only read.
        out: The folder to write; it must not exist yet.
        unet: Which UNet: a folder below the source, e.g. checkpoint-150000/unet_ema. A ControlNet goes with the UNet
            that was released with it, not with that of another folder.
        controlnet: Which ControlNet, e.g. checkpoint-50000/controlnet; by default `controlnet` and its numbered
            siblings, if they are there.
        resolution: Side of the images that the UNet was trained on, px. DiffusionSat's configs all say 768, but its
            models were trained on 512 or 256.
    """
    if out.exists():
        raise BaseError(f"{out} exists already. Name another folder.")
    folders = _parts(source, unet, controlnet)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        loaded = {
            name: _load(name, folder, partial / "work" / name)
            for name, folder in Bar(folders.items(), desc="convert", unit="part")
        }
        text = loaded["text_encoder"].config
        loaded["tokenizer"] = open_tokenizer(loaded["tokenizer"], text.vocab_size, text.max_position_embeddings)
        if resolution is not None:
            cell = 1 << (len(loaded["vae"].config.block_out_channels) - 1)
            loaded["unet"].register_to_config(sample_size=resolution // cell)
        controlnets = [loaded.pop(name) for name in list(loaded) if name.startswith("controlnet")]
        pipeline = SatPipeline(
            **loaded, controlnet=controlnets if len(controlnets) > 1 else next(iter(controlnets), None)
        )
        pipeline.save_pretrained(partial / out.name)
        (partial / out.name).rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    print(f"{out}: {', '.join(folders)}; generates images of {side} px by default.")


def _parts(source: Path, unet: str, controlnet: str | None) -> dict[str, Path]:
    """The folder of each part; stops if one is missing."""
    if source.is_file():
        raise BaseError(f"{source}: not a folder. {single_file_advice(source)}")
    parts = {name: source / name for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    parts["unet"] = source / unet
    first = source / (controlnet or "controlnet")
    if controlnet is not None or first.is_dir():
        for number, folder in enumerate(sibling_folders(first)):
            parts[f"controlnet_{number}"] = folder
    if missing := [str(folder) for folder in parts.values() if not folder.is_dir()]:
        raise BaseError(f"{source}: lacks {', '.join(missing)}. Expected a whole released folder.")
    return parts


def _load(name: str, folder: Path, work: Path) -> Any:  # noqa: ANN401 (a network, tokenizer or scheduler)
    """One part, a network through clean files in `work`; the tokenizer must wait for the text encoder."""
    if name == "tokenizer":
        return folder
    if name == "scheduler":
        return _scheduler(folder / "scheduler_config.json")
    work.mkdir(parents=True)
    config = read_json(folder / "config.json")
    weights = read_weights(folder)
    controls = name.startswith("controlnet")
    kind: Any = CLIPTextModel
    if name != "text_encoder":
        kind = controlnet_class(folder) if controls else DiffusionSat().network_class(name, config)
    if kind is CLIPTextModel:
        weights = {key: value for key, value in weights.items() if is_weight(key)}
        save_file(weights, work / "model.safetensors", metadata={"format": "pt"})
    else:
        known = inspect.signature(kind.__init__).parameters
        config = {key: value for key, value in modern_names(config).items() if key in known}  # EMA's numbers go
        save_file(weights, work / "diffusion_pytorch_model.safetensors")
    (work / "config.json").write_text(json.dumps(config))
    return _checked(kind, work, folder, _dtype(weights))


def _checked(kind: Any, work: Path, folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Load, and stop unless the weights match the network one to one."""
    precision = {"dtype" if kind is CLIPTextModel else "torch_dtype": dtype}
    try:
        network, loading = kind.from_pretrained(work, output_loading_info=True, **precision)
    except (ValueError, RuntimeError) as error:
        raise BaseError(f"{folder}: the weights do not fit its config.json ({error}). Copy both again.") from error
    for what, keys in (("lack", loading["missing_keys"]), ("have a stranger,", loading["unexpected_keys"])):
        if keys:
            raise BaseError(f"{folder}: the weights {what} {sorted(keys)[0]} (of {len(keys)}) for {kind.__name__}.")
    return network


def _scheduler(path: Path) -> SchedulerMixin:
    """The scheduler that a file names, if it is one of diffusers' interchangeable ones."""
    config = read_json(path)
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise BaseError(f"{path}: _class_name is {name!r:.60}; expected one of {', '.join(SCHEDULERS)}.")
    return getattr(diffusers, name).from_config(config)


def _dtype(weights: dict[str, Tensor]) -> torch.dtype:
    return next(tensor.dtype for tensor in weights.values() if tensor.is_floating_point())
