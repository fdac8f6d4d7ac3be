"""Editing by DDIM inversion: closed forms, diffusers' own inversion, and which method fits which base."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline
from PIL import Image
from torch import Tensor, nn

from data.examples.place import whole
from generate.conditions import Conditions
from generate.editing.base import STRENGTH, clean_latents, depth
from generate.editing.inversion import MAPS, disagreement, inverted
from generate.editing.methods import METHODS, misfit
from generate.generator import Generator, load_untrained
from generate.images.items import Item
from generate.inputs import Inputs
from generate.sampling import Sampling
from models import load_base
from models.tiny_networks import tiny_noise_schedule
from tests.generate.test_generator import noise_image

SPREAD = 0.6  # standard deviation of the analytic denoiser's world


def stable_diffusion_schedule() -> DDIMScheduler:
    """Of Stable Diffusion 1.x: noise is predicted, and the last step still shows something."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip


SCHEDULES = {"epsilon": stable_diffusion_schedule, "v, zero terminal SNR": tiny_noise_schedule}


class Analytic:
    """The exact denoiser of a world whose latents are independent, normal, of mean 0 and one spread."""

    def __init__(self, scheduler: DDIMScheduler) -> None:
        self.scheduler = scheduler

    def __call__(self, latents: Tensor, timestep: Tensor, *_: object, **__: object) -> Tensor:
        """What the network would predict, from E[x0 | xt] = sqrt(a) s^2 xt / (a s^2 + 1 - a)."""
        a = self.scheduler.alphas_cumprod[timestep].double()
        clean = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * latents
        noise = (latents - a.sqrt() * clean) / (1 - a).sqrt()
        if self.scheduler.config.prediction_type == "epsilon":
            return torch.as_tensor(noise)
        return torch.as_tensor(a.sqrt() * noise - (1 - a).sqrt() * clean)


class Stand(nn.Module):
    """As much of a denoiser as inversion looks at."""

    controlnet, unet = None, SimpleNamespace(device=torch.device("cpu"))

    def __init__(self, predict: Callable[..., Tensor]) -> None:
        super().__init__()
        self.predict = predict

    def forward(self, *given: Any, **settings: Any) -> Tensor:
        return self.predict(*given, **settings)


def generator_of(scheduler: DDIMScheduler, predict: Callable[..., Tensor]) -> Generator:
    """Any function as a generator's denoiser."""
    absent: Any = None
    stand: Any = Stand(predict)
    return Generator(absent, stand, absent, absent, absent, scheduler, 1)


WHOLE = [whole(32, 32)]
NOTHING = Conditions(torch.zeros(1, 77, 4))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_inversion_of_a_world_with_a_closed_form(schedule: Callable[[], DDIMScheduler]) -> None:
    """The ODE takes x0 to x0 sqrt(a s^2 + 1 - a) / s; the error falls with the step, and all levels are right."""
    scheduler = schedule()
    clean = torch.linspace(-1.5, 1.5, 7).view(1, 1, 1, 7).double()
    errors = []
    for steps in (50, 200):
        trail = inverted(generator_of(scheduler, Analytic(scheduler)), clean, NOTHING, Sampling(steps=steps))
        assert len(trail) == depth(steps) + 1
        scheduler.set_timesteps(steps)
        levels = scheduler.alphas_cumprod[scheduler.timesteps[-depth(steps) :].flip(0)].double()
        exact = clean * (levels * SPREAD**2 + 1 - levels).sqrt().view(-1, 1, 1, 1, 1) / SPREAD
        errors.append(float((torch.stack(trail[1:]) - exact).abs().max()))
    assert errors[1] < 0.03
    assert errors[1] < 0.4 * errors[0]  # first order would be a quarter


@pytest.fixture(scope="module")
def networks(micro_base: Path) -> Generator:
    """The micro base alone: v-prediction, zero terminal SNR."""
    return load_untrained(load_base(micro_base), Sampling(), 1)


def inputs(source: str = "before a flood", count: int = 1) -> Inputs:
    """Random images."""
    return Inputs(
        pre=[noise_image(i) for i in range(count)],
        prompts=["after a flood"] * count,
        seeds=[7 + i for i in range(count)],
        buildings=[None] * count,
        source_prompts=[source] * count,
    )


def autoencoded(networks: Generator, given: Inputs) -> Any:  # pixels
    """What is left of the pre images when nothing is edited."""
    with torch.inference_mode():
        return networks.images(clean_latents(networks, given), given.seeds)


def test_there_and_back_with_one_caption() -> None:
    """A trained base (v, zero terminal SNR) asked to change nothing: inversion comes back, SDEdit does not."""
    networks = load_untrained(load_base("tiny"), Sampling(), 1)
    pre = np.asarray(Image.fromarray(np.random.default_rng(0).integers(60, 180, (6, 6, 3), np.uint8)).resize((64, 64)))
    words = ["a satellite image before a windstorm"]
    given = Inputs(pre=[pre], prompts=words, seeds=[7], buildings=[None], source_prompts=words)
    target = autoencoded(networks, given)

    def error(method: str, steps: int) -> float:
        made = METHODS[method](networks, given, Sampling(steps=steps), lambda done: None)
        return float(np.abs(made.astype(float) - target).mean())

    assert error("invert", 20) < 0.5 * error("sdedit", 20)
    assert error("invert", 20) < 0.7 * error("invert", 5)


def test_diffedit_of_one_caption_changes_nothing(networks: Generator) -> None:
    """Captions that agree everywhere leave the image as the autoencoder gives it back, whatever the steps."""
    given = inputs(source="after a flood", count=2)
    made = METHODS["diffedit"](networks, given, Sampling(steps=4), lambda done: None)
    assert np.array_equal(made, autoencoded(networks, given))


def test_an_image_does_not_depend_on_its_batch(networks: Generator) -> None:
    """Law 1; diffusers' own mask is cut off at the mean of the batch."""
    for method in ("invert", "diffedit"):
        both = METHODS[method](networks, inputs(count=2), Sampling(steps=4), lambda done: None)
        one = METHODS[method](networks, inputs(), Sampling(steps=4), lambda done: None)
        assert np.abs(both[0].astype(int) - one[0]).max() <= 1


def test_mask_is_where_predictions_differ() -> None:
    """A network that answers the caption in one corner only."""

    def predict(latents: Tensor, _: Tensor, states: Tensor, *__: object, scale: float) -> Tensor:
        answer = torch.zeros_like(latents)
        answer[..., :2, 1:3] = states[:, 0, 0].view(-1, 1, 1, 1)
        return latents + answer

    networks, asked = generator_of(tiny_noise_schedule(), predict), Conditions(NOTHING.states + 1)
    mask = disagreement(networks, torch.zeros(1, 4, 4, 4), NOTHING, asked, inputs(), Sampling(steps=4))
    expected = torch.zeros(4, 4)
    expected[:2, 1:3] = 1
    assert torch.equal(mask[0, 0], expected)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_same_as_diffusers_where_that_works(
    networks: Generator, schedule: Callable[[], DDIMScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its inversion, level by level, and its mask of a single image, from the same latents and noise."""
    monkeypatch.setattr(
        "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample", lambda self, *_: self.mode()
    )
    scheduler = schedule()
    networks = replace(networks, sampler=scheduler)
    parts = {name: getattr(networks, name) for name in ("vae", "text_encoder", "tokenizer")}
    stock = StableDiffusionDiffEditPipeline(
        **parts, unet=networks.denoiser.unet, scheduler=scheduler,
        inverse_scheduler=DDIMInverseScheduler.from_config(scheduler.config),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    given, sampling = inputs(), Sampling(steps=8, guidance_scale=3.0)
    plain = replace(sampling, guidance_scale=1.0)
    with torch.inference_mode():
        clean = clean_latents(networks, given)
        source, target = (
            networks.conditions([word], None, None, sampling, [whole(32, 32)])
            for word in ("before a flood", "after a flood")
        )
        trail = inverted(networks, clean, networks.conditions(["before a flood"], None, None, plain, WHOLE), plain)
        mask = disagreement(networks, clean, source, target, given, sampling)
    image = torch.from_numpy(given.pre[0] / 255).float().permute(2, 0, 1)[None]
    theirs = stock.invert(
        "before a flood", image, num_inference_steps=8, guidance_scale=1.0, inpaint_strength=STRENGTH
    ).latents[0]
    assert torch.allclose(torch.cat(trail[1:]), theirs.flip(0), atol=1e-5)
    # In generate_mask the empty captions and the captions stand in each other's place (diffusers 0.42).
    words = [("after a flood", ""), ("before a flood", "")]
    (target_prompt, target_negative), (source_prompt, source_negative) = (pair[::-1] for pair in words)
    their_mask = stock.generate_mask(
        image, target_prompt, target_negative, source_prompt=source_prompt, source_negative_prompt=source_negative,
        num_maps_per_mask=MAPS, num_inference_steps=8, guidance_scale=3.0,
        generator=torch.Generator().manual_seed(given.seeds[0]),
    )  # fmt: skip
    assert np.array_equal(mask[0].numpy(), their_mask)


def item(**replaced: Any) -> Item:  # fields
    """An item that fits everything."""
    fields: dict[str, Any] = {
        "key": 0, "name": "a", "prompt": "after", "origin": dict, "read": lambda: noise_image(0),
        "buildings": lambda: np.ones((32, 32), bool), "source_prompt": "before",
    }  # fmt: skip
    return Item(**fields | replaced)


def test_what_does_not_fit_is_said(micro_base: Path) -> None:
    """One reason for each, and none where all is well."""
    parts = load_base(micro_base)
    for method, changed, sampling, reason in (
        ("sdedit", {}, Sampling(steps=1), "1 step is too few"),
        ("inpaint", {"buildings": lambda: None}, Sampling(), "no damage mask"),
        ("inpaint", {"buildings": None}, Sampling(), "no damage mask"),
        ("invert", {}, Sampling(scheduler="unipc"), "the scheduler is unipc"),
        ("diffedit", {"source_prompt": None}, Sampling(), "have none of this style"),
        ("diffedit", {}, Sampling(steps=1), "1 step is too few"),
        ("instruct", {}, Sampling(), "not named"),
    ):
        assert reason in (misfit(method, [item(), item(**changed)], parts, None, sampling) or "")
    for method in ("controlnet", "sdedit", "inpaint", "invert", "diffedit"):
        assert misfit(method, [item()], parts, None, Sampling()) is None
