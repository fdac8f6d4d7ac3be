"""A checkpoint on any family of base makes the image of diffusers' own pipeline from the same folders."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import generate_images, load_generator
from generate.sampling import Sampling
from generate.scenes.denoise import denoise_scene
from generate.scenes.windows import Grid
from models import load_base
from models.checkpoint import CheckpointError
from models.denoiser import Denoiser
from tests.families import ADAPTED, MICRO
from tests.generate.stock import stock_images
from tests.generate.worlds import RESOLUTION, write_kind

STEPS = 3
PLACE = (64.0, 48.0, 16.0, 0.0, 32.0, 32.0)


@pytest.mark.parametrize(
    ("trained", "guidance_scale"),
    [("controlnet", 1.0), ("controlnet-lora", 3.0), ("controlnet+lora", 3.0), ("lora", 3.0)],
)
@pytest.mark.parametrize("kind", ["sdxl", "stable_diffusion_3", "stable_diffusion_3.5"])
def test_equals_stock_diffusers_from_disk(tmp_path: Path, kind: str, trained: str, guidance_scale: float) -> None:
    check(tmp_path, MICRO[kind](tmp_path / "base"), kind, trained, guidance_scale)


@pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning")  # of diffusers itself
@pytest.mark.parametrize("kind", ["stable_diffusion", *ADAPTED])
def test_a_light_conditioner_equals_stock_diffusers(tmp_path: Path, kind: str) -> None:
    write, trained = ADAPTED.get(kind, (MICRO["stable_diffusion"], "controlnet-lora"))
    check(tmp_path, write(tmp_path / "base"), {"xl": "sdxl"}.get(kind, kind), trained, 3.0)


def check(tmp_path: Path, base: Path, kind: str, trained: str, guidance_scale: float) -> None:
    """Images of `generate` and of the stock pipeline, from the same folders."""
    latents_only = "model.condition" in load_base(base).family.only
    latents = latents_only and "controlnet" in trained
    run = write_kind(tmp_path / "run", base, trained, "latents" if latents else "pixels")
    checkpoint = open_checkpoint(run)
    rng = np.random.default_rng(0)
    pre = [rng.integers(0, 256, (RESOLUTION, RESOLUTION, 3), np.uint8) for _ in range(2)]
    prompts, seeds = ["after a flood", "after a fire"], [7, 8]
    sampling = Sampling(
        scheduler="flow-euler" if latents_only else "ddim",
        steps=STEPS,
        guidance_scale=guidance_scale,
        control_scale=0.7,
    )
    generator = load_generator(checkpoint, open_base(checkpoint), sampling)
    ours = generate_images(generator, pre, prompts, seeds, sampling, places=[PLACE] * 2)
    told: dict[str, Any] = {"original_size": (64, 48), "crops_coords_top_left": (16, 0), "target_size": (32, 32)}
    # The stock pipeline draws the latents of the pre image from their posterior, without a seed of ours.
    with patch.object(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()):
        theirs = stock_images(
            checkpoint, pre, prompts, seeds, steps=STEPS, guidance_scale=guidance_scale, control_scale=0.7,
            **(told if kind == "sdxl" else {}),
        )  # fmt: skip
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    elsewhere = generate_images(generator, pre, prompts, seeds, sampling)
    assert np.array_equal(ours, elsewhere) == (kind != "sdxl")  # which is told where an image lies


def test_a_base_of_another_family_and_a_solver_that_does_not_fit(
    tmp_path: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are said before any weight is loaded."""
    run = write_kind(tmp_path / "run", MICRO["sdxl"](tmp_path / "base"), "lora")
    checkpoint = open_checkpoint(run)
    monkeypatch.setattr("models.base.Base._load", None)
    with pytest.raises(GenerateError, match="flow-euler; a base of Stable Diffusion XL is solved by ddim"):
        load_generator(checkpoint, open_base(checkpoint), Sampling(scheduler="flow-euler"))
    monkeypatch.setattr("models.base.Base.weights_hash", None)
    with pytest.raises(CheckpointError, match=r"family sdxl, but .* is of stable_diffusion .*--base"):
        open_base(checkpoint, str(micro_base))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_a_t2i_adapter_looks_at_an_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guidance_scale: float, kept_bytes: int
) -> None:
    """Its features are the same in every step: those of steps that each ask it again give the same bits."""
    checkpoint = open_checkpoint(write_kind(tmp_path / "run", ADAPTED["full"][0](tmp_path / "base"), "t2i-adapter"))
    sampling = Sampling(steps=STEPS, guidance_scale=guidance_scale, control_scale=0.7, batch_size=2)
    generator = load_generator(checkpoint, open_base(checkpoint), sampling)
    rng, looks = np.random.default_rng(0), []
    pre = [rng.integers(0, 256, (RESOLUTION, RESOLUTION, 3), np.uint8) for _ in range(2)]
    scene, grid = rng.integers(0, 256, (48, 64, 3), np.uint8), Grid(6, 8, 4, 2)
    generator.denoiser.controlnet.register_forward_hook(lambda *_: looks.append(1))
    monkeypatch.setattr("generate.scenes.denoise.KEPT_BYTES", kept_bytes)

    def images() -> tuple[list[int], Any, torch.Tensor]:
        looks.clear()
        batch = generate_images(generator, pre, ["a", "b"], [7, 8], sampling)
        of_batch = len(looks)
        read = lambda top, left: scene[top : top + RESOLUTION, left : left + RESOLUTION]  # noqa: E731
        latents = denoise_scene(generator, grid, read, "a", 3, sampling)
        return [of_batch, len(looks) - of_batch], batch, latents

    once, batch, latents = images()
    assert len(grid) == 6 and once == [1, 3 if kept_bytes else 3 * STEPS]  # six windows are three batches
    with monkeypatch.context() as patch_:
        patch_.setattr(Denoiser, "prepared", lambda self, condition: condition)
        often, same_batch, same_latents = images()
    assert often == [STEPS, 3 * STEPS]
    assert np.array_equal(batch, same_batch) and torch.equal(latents, same_latents)
