"""Images on a GPU that is not there: captions, condition, predictions of a patch and of a scene's windows, pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState

from data.examples.condition import CONDITIONS
from data.examples.place import whole
from generate.checkpoint import open_base, open_checkpoint
from generate.generator import load_generator
from generate.sampling import Sampling
from models.images import decode
from tests.fake_gpu import GPU, fake_gpu
from tests.families import MICRO
from tests.generate.worlds import RESOLUTION, write_kind

KINDS = [
    ("stable_diffusion", "controlnet", "pixels"),
    ("stable_diffusion", "controlnet", "pixels+mask"),
    ("stable_diffusion", "controlnet", "latents+mask"),
    ("stable_diffusion", "controlnet", "latents"),
    ("stable_diffusion", "lora+concat", "pixels"),
    ("sdxl", "controlnet", "pixels"),
    ("stable_diffusion_3", "controlnet", "latents"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "trained", "condition"), KINDS, ids=[" ".join(kind) for kind in KINDS])
def test_a_prediction_and_its_pixels(
    tmp_path: Path, family: str, trained: str, condition: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = open_checkpoint(write_kind(tmp_path / "run", MICRO[family](tmp_path / "base"), trained, condition))
    sampling = Sampling(steps=2, guidance_scale=3, precision=precision)  # type: ignore[arg-type]
    if family == "stable_diffusion_3":
        sampling = Sampling(steps=2, scheduler="flow-euler", guidance_scale=3, precision=precision)  # type: ignore[arg-type]
    PartialState()
    monkeypatch.setitem(PartialState._shared_state, "device", GPU)
    pre = [np.zeros((RESOLUTION, RESOLUTION, CONDITIONS[condition].channels), np.uint8)] * 2
    with fake_gpu() as mode:
        generator = load_generator(checkpoint, open_base(checkpoint), sampling)
        with mode, torch.no_grad():
            places = [whole(RESOLUTION, RESOLUTION)] * 2
            given = generator.conditions(["a flood", "a fire"], pre, None, sampling, places)
            noisy = torch.zeros(2, generator.vae.config.latent_channels, 4, 4, device=GPU)
            timestep = torch.tensor(500, device=GPU)
            predicted = generator.predict(noisy, timestep, given, sampling)
            assert (predicted.device, predicted.dtype, predicted.shape) == (GPU, torch.float32, noisy.shape)
            windows = given.repeated(1, 2, generator.shown(pre), generator.placed(places))
            assert generator.predict(noisy, timestep, windows, sampling).device == GPU
            pixels = decode(generator.vae, predicted)
            assert (pixels.device, pixels.dtype, pixels.shape) == (GPU, torch.float32, (2, 3, RESOLUTION, RESOLUTION))
