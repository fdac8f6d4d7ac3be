"""SDEdit over a whole scene, which a base alone offers in place of a ControlNet; metadata of a scene."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from torch import Tensor

from generate.generator import Generator, load_untrained
from generate.inputs import Pixels
from generate.sampling import Sampling
from generate.scenes.denoise import denoise_scene
from generate.scenes.windows import Grid
from models import load_base
from models.images import decode, to_unit
from tests.generate.worlds import RESOLUTION
from tests.worlds import unmapped


def pixels(height: int, width: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers, UniPC
@pytest.mark.parametrize("scheduler", ["ddim", "unipc"])
def test_an_edited_scene_of_one_window_is_stock_image_to_image(micro_base: Path, scheduler: str) -> None:
    """diffusers is given the same latents: the mode of its own encoder, not a sample of it."""
    base, sampling = load_base(micro_base), Sampling(steps=4, scheduler=scheduler)  # type: ignore[arg-type]
    networks, pre = load_untrained(base, sampling, 1), pixels(RESOLUTION, RESOLUTION)
    side = RESOLUTION // networks.cell_px
    latents = denoise_scene(
        networks, Grid(side, side, side, 1), lambda top, left: pre, "after a flood", 7, sampling, first_step=1
    )
    ours = to_unit(decode(networks.vae, latents))
    stock = unmapped(StableDiffusionImg2ImgPipeline.from_pretrained(micro_base, safety_checker=None))
    stock.scheduler = base.load_sampler(scheduler)
    image = torch.from_numpy(pre).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        clean = stock.vae.encode(image).latent_dist.mode() * stock.vae.config.scaling_factor
    theirs = stock(
        "after a flood", clean, strength=0.75, num_inference_steps=4, guidance_scale=1.0, output_type="np",
        generator=torch.Generator().manual_seed(7),
    ).images  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_windows_of_an_edited_scene_read_their_own_ground(micro_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noised is each window through the encoder; side by side, no blending changes it."""
    sampling = Sampling(steps=4)
    networks, pre = load_untrained(load_base(micro_base), sampling, 1), pixels(RESOLUTION, 3 * RESOLUTION)
    side, noised = RESOLUTION // networks.cell_px, []

    def add_noise(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        noised.append(clean)
        return noise

    def read(top: int, left: int) -> Pixels:
        return pre[top : top + RESOLUTION, left : left + RESOLUTION]

    monkeypatch.setattr(networks.sampler, "add_noise", add_noise)
    denoise_scene(networks, Grid(side, 3 * side, side, side), read, "", 0, sampling, first_step=1)
    windows = torch.from_numpy(pre).permute(2, 0, 1)[None].float().div(127.5).sub(1).split(RESOLUTION, -1)
    with torch.no_grad():
        clean = [networks.vae.encode(window).latent_dist.mode() for window in windows]
    torch.testing.assert_close(noised, [torch.cat(clean, -1) * networks.vae.config.scaling_factor], atol=1e-5, rtol=0)


def told(networks: Generator, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[list[float]], list[list[float]]]]:
    """What the denoiser is told of the target and of the pre image, in every call."""
    seen: list[tuple[list[list[float]], list[list[float]]]] = []

    def forward(noisy: Tensor, *given: Tensor, scale: float, **named: Tensor) -> Tensor:
        seen.append((named["metadata"].tolist(), named["cond_metadata"].tolist()))
        return noisy

    monkeypatch.setattr(networks.denoiser, "forward", forward)
    return seen


def test_every_window_is_told_the_metadata_of_the_scene(micro_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows in one batch: unconditional rows of unknowns, then the normalised numbers three times."""
    sampling = Sampling(steps=1, guidance_scale=2.0)
    networks, pre = load_untrained(load_base(micro_base), sampling, 1), pixels(RESOLUTION, 2 * RESOLUTION)
    seen, side = told(networks, monkeypatch), RESOLUTION // networks.cell_px
    one = (10.0, 20.0, 0.5, 0.1, 2018.0, 10.0, 13.0), (10.0, 20.0, 0.5, 0.0, 2017.0, 1.0, 2.0)
    denoise_scene(
        networks,
        Grid(side, 2 * side, side, side // 2),
        lambda top, left: pre[:, left : left + RESOLUTION],
        "after a flood",
        0,
        sampling,
        metadata=one,
    )
    ((target, source),) = seen
    for rows, natural in ((target, one[0]), (source, one[1])):
        assert np.isnan(rows[:3]).all() and rows[3] == rows[4] == rows[5]
        # DiffusionSat: longitude / 180 and so on are mapped to 0..1000.
        assert rows[3][0] == pytest.approx((natural[0] + 180) / 360 * 1000, abs=1e-3)
        assert not np.isnan(rows[3]).any()
