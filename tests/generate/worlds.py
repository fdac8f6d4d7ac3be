"""A checkpoint with random weights and a dataset of four 64 px patches, for the tests of generate/ and evaluation/."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import List
from diffusers import ControlNetModel
from numpy.typing import NDArray
from PIL import Image

from data.dataset.manifest import FILE_NAME, FORMAT, FORMAT_VERSION
from data.dataset.shards import write_shard
from data.examples.condition import CONDITIONS
from data.imagery.encode import encode_png
from data.schema import QUALITY, SENSOR
from data.storage import sha256
from models import Base, load_base
from models.checkpoint import read_state, step_folder, write_checkpoint
from models.conditioners.controlnet_lora import freeze_copied
from models.conditioners.t2i_adapter import new_adapter
from models.denoiser import Denoiser, concatenate_pre
from models.families.family import NewControlNet
from models.lora import add_lora
from models.trained import save_trained

RESOLUTION = 32
PATCH_PX = 64
EVENTS = ("larkmere-flooding", "cape-dorring-wind", "juniper-creek-fire", "monte-alvo-earthquake")


def write_micro_checkpoint(
    run: Path,
    base: Path,
    *,
    step: int = 10,
    averaged: bool = False,
    seed: int = 1,
    caption_style: str = "short",
    condition: str = "pixels",
    patch_px: int | None = None,
    gsd_m: float | None = None,
    prompt: str | None = None,
) -> Path:
    """A run folder with one checkpoint; its zero convolutions are no longer zero, so that the pre image matters."""
    parts = load_base(base)
    controlnet = new_controlnet(parts, parts.load_unet(), condition, seed)
    state = {
        "format": 1,
        "step": step,
        "base": {"name": str(base), "unet_sha256": parts.network_hash, "family": parts.family.key},
        "dataset_fingerprint": "0" * 64,
        "resolution": RESOLUTION,
        **({"patch_px": patch_px} if patch_px else {}),  # old checkpoints do not say it
        **({"gsd_m": gsd_m} if gsd_m else {}),
        **({"prompt": prompt} if prompt else {}),
        "caption_style": caption_style,
        "trained": "controlnet",
        "condition": condition,
        "direction": "future",
        "text_chunks": 1,
        "zero_terminal_snr": False,
        "config": {},
        "versions": {},
        "commit": "",
    }

    def write_files(folder: Path) -> None:
        perturb(controlnet, seed)
        controlnet.save_pretrained(folder / "controlnet")
        if averaged:
            perturb(controlnet, seed + 1)
            controlnet.save_pretrained(folder / "ema" / "controlnet")

    write_checkpoint(step_folder(run / "checkpoints", step), state, write_files)
    return run


def write_kind(run: Path, base: Path, trained: str, condition: str = "pixels") -> Path:
    """A run with a checkpoint of any kind, as the trainer writes it; weights that began at zero have moved."""
    parts = load_base(base)
    unet, controlnet, generator = parts.load_unet(), None, torch.Generator().manual_seed(4)
    if "controlnet" in trained:
        controlnet = new_controlnet(parts, unet, condition, 1).train()
    if trained.startswith("t2i-adapter"):
        controlnet = new_adapter(
            unet, light=trained.endswith("light"), conditioning_channels=3, vae_scale_factor=8, seed=1
        )
    if trained == "controlnet-lora":
        freeze_copied(controlnet, unet, rank=2, alpha=4, targets=["to_q", "to_v"], seed=1)
    if "lora" in trained.split("+"):
        add_lora(unet, rank=2, alpha=4, targets=["to_q", "to_v"], seed=1)
    if "concat" in trained:
        concatenate_pre(unet)
    denoiser = Denoiser(parts.family, unet, controlnet)
    for weight in denoiser.trained().values():
        weight.data += 0.2 * torch.randn(weight.shape, generator=generator)
    write_micro_checkpoint(run, base, condition=condition)  # for its state.json
    state = read_state(step_folder(run / "checkpoints", 10)) | {"trained": trained, "condition": condition, "step": 20}
    write_checkpoint(
        step_folder(run / "checkpoints", 20), state, lambda folder: save_trained(folder, denoiser, denoiser.trained())
    )
    return run


def new_controlnet(base: Base, network: Any, condition: str, seed: int) -> Any:
    """Of the base's family."""
    shown = CONDITIONS[condition]
    asked = NewControlNet(
        seed=seed, vae_scale_factor=base.vae_scale_factor, latents=shown.latents, conditioning_channels=shown.channels
    )
    return base.family.new_controlnet(network, asked)


def perturb(controlnet: ControlNetModel, seed: int) -> None:
    """Replace zero-initialised weights by small random ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in controlnet.named_parameters():
            if name.startswith("controlnet_") or name.startswith("controlnet_cond_embedding.conv_out"):
                weight += 0.3 * torch.randn(weight.shape, generator=generator)


def patch_row(index: int, **replaced: Any) -> dict[str, Any]:
    """One dataset row: a green place with a square that turns brown in the post image and is marked as changed."""
    rng = np.random.default_rng(index)
    pre = (np.array([90, 120, 70]) + rng.integers(-30, 30, (PATCH_PX, PATCH_PX, 1))).astype(np.uint8)
    post, change = pre.copy(), np.zeros((PATCH_PX, PATCH_PX), np.uint8)
    post[16:40, 16:40] = [140, 100, 70]
    change[16:40, 16:40] = 255
    row: dict[str, Any] = {
        "patch_id": f"{EVENTS[index % 4]}_{index:08d}_0000_0000_{PATCH_PX}",
        "scene_id": f"{EVENTS[index % 4]}_{index:08d}",
        "event": EVENTS[index % 4],
        "disaster_type": EVENTS[index % 4].rsplit("-", 1)[1],
        "official_split": "test",
        "labels": "both",
        "row": 0,
        "col": 0,
        "size": PATCH_PX,
        "pre": png(pre),
        "post": png(post),
        "damage_mask": png(np.where(change > 0, 4, 0).astype(np.uint8)),
        "change_mask": png(change),
        "captions": [
            {"style": "short", "target": "pre", "text": "a town before a flood"},
            {"style": "short", "target": "post", "text": f"a town after flood number {index}"},
        ],
        "metadata_pre": [math.nan] * 7,
        "metadata_post": [math.nan] * 7,
        "location_source": "unknown",
        "sensor_pre": dict.fromkeys(SENSOR),
        "sensor_post": dict.fromkeys(SENSOR),
        "centre_lon": math.nan,
        "centre_lat": math.nan,
        "pixel_size_m": math.nan,
        "crs_wkt": "",
        "transform": [],
        "counts": {"no_damage": 0, "minor_damage": 0, "major_damage": 0, "destroyed": 1, "un_classified": 0},
        **{name: _unknown(kind) for name, kind in QUALITY.items()},
        "nodata_fraction": 0.0,
        "shift_px": [0.0, 0.0],
        "buildings": [],
    }
    row |= {f"{name}_sha256": hashlib.sha256(row[name]["bytes"]).hexdigest() for name in ("pre", "post")}
    return row | replaced


def _unknown(kind: Any) -> Any:
    if isinstance(kind, List):
        return [math.nan] * kind.length
    return "" if kind.dtype == "string" else math.nan


def write_dataset(
    folder: Path, rows: list[dict[str, Any]], split: str = "test", **others: list[dict[str, Any]]
) -> Path:
    """A dataset folder as `pre2post build` writes it; `others` are the rows of more splits."""
    (folder / "data").mkdir(parents=True)
    splits, described = {split: rows, **others}, []
    for name, its_rows in splits.items():
        shard = folder / "data" / f"{name}-00000-of-00001.parquet"
        count = write_shard(shard, its_rows, folder / "partial")
        described.append({"split": name, "file": f"data/{shard.name}", "rows": count, "sha256": sha256(shard)})
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": "f" * 64,
        "events": {},
        "splits": {name: {"scenes": len(its_rows), "patches": len(its_rows)} for name, its_rows in splits.items()},
        "shards": described,
    }
    (folder / FILE_NAME).write_text(json.dumps(manifest))
    return folder


def png(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """A cell of an image column."""
    return {"bytes": encode_png(pixels), "path": None}


def write_image(path: Path, side: int = RESOLUTION, seed: int = 0) -> Path:
    """A PNG of noise."""
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path
