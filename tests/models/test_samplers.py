"""Solvers on the scheduler files that bases come with: the numbers are those of the papers' formulas."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from models import load_base

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAVED_BY = [
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler",
]  # fmt: skip
# Cumulative products of 1 - beta, by numpy.
ALPHAS: Any = np.cumprod(1.0 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


@pytest.fixture
def base(micro_base: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(micro_base, tmp_path / "base")


def save(base: Path, scheduler: str, **settings: Any) -> None:
    shutil.rmtree(base / "scheduler")
    getattr(diffusers, scheduler)(**NOISE, **settings).save_pretrained(base / "scheduler")


@pytest.mark.parametrize("scheduler", SAVED_BY)
def test_ddim_never_clips_latents(base: Path, scheduler: str) -> None:
    """Whoever saved the file: a step is equation 12 of the DDIM paper with sigma 0, on latents far beyond 1."""
    save(base, scheduler)
    sampler = load_base(base).load_sampler("ddim")
    sampler.set_timesteps(10)
    at = int(sampler.timesteps[3])
    before = at - 1000 // 10
    noisy, noise = 5 * torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    clean = (noisy.numpy() - (1 - ALPHAS[at]) ** 0.5 * noise.numpy()) / ALPHAS[at] ** 0.5
    right = ALPHAS[before] ** 0.5 * clean + (1 - ALPHAS[before]) ** 0.5 * noise.numpy()
    assert np.abs(clean).max() > 5
    np.testing.assert_allclose(sampler.step(noise, at, noisy).prev_sample, right, atol=2e-5)


@pytest.mark.parametrize(("fields", "offset", "last"), [({}, 1, ALPHAS[0]), ({"steps_offset": 0}, 0, ALPHAS[0]),
                                                        ({"set_alpha_to_one": True}, 1, 1.0)])  # fmt: skip
def test_absent_fields_are_those_of_stable_diffusion(
    base: Path, fields: dict[str, Any], offset: int, last: float
) -> None:
    """Steps begin at 1, and the last one ends at the first noise level; what a file says of it is kept."""
    (base / "scheduler/scheduler_config.json").write_text(json.dumps(NOISE | fields))
    sampler = load_base(base).load_sampler("ddim")
    sampler.set_timesteps(50)
    assert sampler.timesteps.tolist() == [980 - 20 * step + offset for step in range(50)]
    assert float(sampler.final_alpha_cumprod) == pytest.approx(last)


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver", "sde-dpmsolver", "sde-dpmsolver++", "deis"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_solver_is_the_one_of_its_name(base: Path, algorithm: str, final: str) -> None:
    """Whatever solver the file was saved by; with a last noise level of zero, the last step gives the clean latents."""
    settings = NOISE | {"algorithm_type": algorithm, "final_sigmas_type": final, "prediction_type": "sample"}
    (base / "scheduler/scheduler_config.json").write_text(json.dumps(settings))
    sampler = load_base(base).load_sampler("dpm++")
    sampler.set_timesteps(8)
    latents, clean = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4)
    for time in sampler.timesteps:
        latents = sampler.step(clean, time, latents).prev_sample
    assert sampler.config.algorithm_type == "dpmsolver++"
    assert torch.allclose(latents, clean, atol=1e-5) == (final == "zero")
