"""Editing by DDIM inversion: closed forms, diffusers' own inversion, and which method fits which base."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionDiffEditPipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from generate.editing.diffedit import STRENGTH, encode, load_editor
from generate.editing.inversion import MAPS, depth, disagreement, inverted
from generate.editing.methods import METHODS, misfit
from generate.images.items import Item
from generate.inputs import Inputs
from generate.pipeline import prompt_states
from generate.sampling import Sampling
from models import load_base
from models.tiny_networks import tiny_noise_schedule
from tests.generate.test_pipeline import noise_image

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

    def __call__(self, latents: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
        """What the network would predict, from E[x0 | xt] = sqrt(a) s^2 xt / (a s^2 + 1 - a)."""
        a = self.scheduler.alphas_cumprod[timestep].double()
        clean = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * latents
        noise = (latents - a.sqrt() * clean) / (1 - a).sqrt()
        if self.scheduler.config.prediction_type == "epsilon":
            return (noise,)
        return (a.sqrt() * noise - (1 - a).sqrt() * clean,)


class Stand:
    """As much of a pipeline as inversion looks at."""

    def __init__(self, scheduler: DDIMScheduler, unet: Callable[..., tuple[Tensor]]) -> None:
        self.scheduler, self.unet = scheduler, unet


STATES = {"prompt_embeds": torch.zeros(1, 77, 4), "negative_prompt_embeds": torch.zeros(1, 77, 4)}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_inversion_of_a_world_with_a_closed_form(schedule: Callable[[], DDIMScheduler]) -> None:
    """The ODE takes x0 to x0 sqrt(a s^2 + 1 - a) / s; the error falls with the step, and all levels are right."""
    scheduler = schedule()
    clean = torch.linspace(-1.5, 1.5, 7).view(1, 1, 1, 7).double()
    errors = []
    for steps in (50, 200):
        stand: Any = Stand(scheduler, Analytic(scheduler))
        trail = inverted(stand, clean, STATES, steps)
        assert len(trail) == depth(steps) + 1
        scheduler.set_timesteps(steps)
        levels = scheduler.alphas_cumprod[scheduler.timesteps[-depth(steps) :].flip(0)].double()
        exact = clean * (levels * SPREAD**2 + 1 - levels).sqrt().view(-1, 1, 1, 1, 1) / SPREAD
        errors.append(float((torch.stack(trail[1:]) - exact).abs().max()))
    assert errors[1] < 0.03
    assert errors[1] < 0.4 * errors[0]  # first order would be a quarter


@pytest.fixture(scope="module")
def pipeline(micro_base: Path) -> StableDiffusionPipeline:
    """The micro base alone: v-prediction, zero terminal SNR."""
    return load_editor(load_base(micro_base), "ddim", 1)


def inputs(source: str = "before a flood", count: int = 1) -> Inputs:
    """Random images."""
    return Inputs(
        pre=[noise_image(i) for i in range(count)],
        prompts=["after a flood"] * count,
        seeds=[7 + i for i in range(count)],
        buildings=[None] * count,
        source_prompts=[source] * count,
    )


def autoencoded(pipeline: StableDiffusionPipeline, given: Inputs) -> Any:  # pixels
    """What is left of the pre images when nothing is edited."""
    with torch.inference_mode():
        decoded = pipeline.vae.decode(encode(pipeline, given) / pipeline.vae.config.scaling_factor).sample
    return pipeline.image_processor.postprocess(decoded, output_type="np")


def test_there_and_back_with_one_caption() -> None:
    """A trained base (v, zero terminal SNR) asked to change nothing: inversion comes back, SDEdit does not."""
    pipeline = load_editor(load_base("tiny"), "ddim", 1)
    pre = np.asarray(Image.fromarray(np.random.default_rng(0).integers(60, 180, (6, 6, 3), np.uint8)).resize((64, 64)))
    words = ["a satellite image before a windstorm"]
    given = Inputs(pre=[pre], prompts=words, seeds=[7], buildings=[None], source_prompts=words)
    target = autoencoded(pipeline, given)

    def error(method: str, steps: int) -> float:
        made = METHODS[method](pipeline, given, Sampling(steps=steps), lambda done: None)
        return float(np.abs(made / 255 - target).mean())

    assert error("invert", 20) < 0.5 * error("sdedit", 20)
    assert error("invert", 20) < 0.7 * error("invert", 5)


def test_diffedit_of_one_caption_changes_nothing(pipeline: StableDiffusionPipeline) -> None:
    """Captions that agree everywhere leave the image as the autoencoder gives it back, whatever the steps."""
    given = inputs(source="after a flood", count=2)
    made = METHODS["diffedit"](pipeline, given, Sampling(steps=4), lambda done: None)
    assert np.abs(made / 255 - autoencoded(pipeline, given)).max() <= 0.5 / 255 + 1e-6


def test_an_image_does_not_depend_on_its_batch(pipeline: StableDiffusionPipeline) -> None:
    """Law 1; diffusers' own mask is cut off at the mean of the batch."""
    for method in ("invert", "diffedit"):
        both = METHODS[method](pipeline, inputs(count=2), Sampling(steps=4), lambda done: None)
        one = METHODS[method](pipeline, inputs(), Sampling(steps=4), lambda done: None)
        assert np.abs(both[0].astype(int) - one[0]).max() <= 1


def test_mask_is_where_predictions_differ() -> None:
    """A network that answers the caption in one corner only."""

    def unet(latents: Tensor, _: Tensor, encoder_hidden_states: Tensor, **__: object) -> tuple[Tensor]:
        answer = torch.zeros_like(latents)
        answer[..., :2, 1:3] = encoder_hidden_states[:, 0, 0].view(-1, 1, 1, 1)
        return (latents + answer,)

    target = {name: state + 1 for name, state in STATES.items()}
    stand: Any = Stand(tiny_noise_schedule(), unet)
    mask = disagreement(torch.zeros(1, 4, 4, 4), stand, STATES, target, inputs(), Sampling(steps=4))
    expected = torch.zeros(4, 4)
    expected[:2, 1:3] = 1
    assert torch.equal(mask[0, 0], expected)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_same_as_diffusers_where_that_works(
    pipeline: StableDiffusionPipeline, schedule: Callable[[], DDIMScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its inversion, level by level, and its mask of a single image, from the same latents and noise."""
    monkeypatch.setattr(
        "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample", lambda self, *_: self.mode()
    )
    scheduler = schedule()
    monkeypatch.setattr(pipeline, "scheduler", scheduler)
    parts = {name: getattr(pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    stock = StableDiffusionDiffEditPipeline(
        **parts, scheduler=scheduler, inverse_scheduler=DDIMInverseScheduler.from_config(scheduler.config),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    given, sampling = inputs(), Sampling(steps=8, guidance_scale=3.0)
    source, target = (prompt_states(pipeline, words) for words in (["before a flood"], given.prompts))
    with torch.inference_mode():
        clean = encode(pipeline, given)
        trail = inverted(pipeline, clean, source, 8)
        mask = disagreement(clean, pipeline, source, target, given, sampling)
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
        ("diffedit", {"source_prompt": None}, Sampling(), "no such caption"),
        ("diffedit", {}, Sampling(steps=1), "1 step is too few"),
        ("instruct", {}, Sampling(), "not named"),
    ):
        assert reason in (misfit(method, [item(), item(**changed)], parts, None, sampling) or "")
    for method in ("controlnet", "sdedit", "inpaint", "invert", "diffedit"):
        assert misfit(method, [item()], parts, None, Sampling()) is None
