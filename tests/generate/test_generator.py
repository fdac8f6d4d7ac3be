"""Generation is diffusers' own: same folders, same seed, same image."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image

from data.examples.condition import CONDITIONS
from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import Generator, generate_images, load_generator
from generate.inputs import Pixels
from generate.sampling import PUBLISHED, Sampling, Scheduler
from models.samplers import DIFFUSION
from tests.generate.stock import stock_images
from tests.generate.worlds import RESOLUTION, write_kind, write_micro_checkpoint
from tests.worlds import unmapped

STEPS = 4
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers' solvers
DOCS = Path(__file__).parents[2] / "docs/training.md"


def generator(run: Path, sampling: Sampling = PUBLISHED) -> Generator:
    """The networks of a run's checkpoint."""
    trained = open_checkpoint(run)
    return load_generator(trained, open_base(trained), sampling)


def noise_image(seed: int) -> Pixels:
    """A random pre image."""
    return np.random.default_rng(seed).integers(0, 256, (RESOLUTION, RESOLUTION, 3), np.uint8)


KINDS = [
    ("controlnet", "pixels"),
    ("controlnet", "latents"),
    ("controlnet", "pixels+mask"),
    ("lora", "pixels"),
    ("controlnet+lora", "pixels"),
    ("lora+concat", "pixels"),
]


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize(("trained", "condition"), KINDS, ids=[" on ".join(kind) for kind in KINDS])
def test_equals_stock_diffusers_from_disk(
    tmp_path: Path, micro_base: Path, trained: str, condition: str, guidance_scale: float
) -> None:
    """The oracle: a pipeline assembled by diffusers alone from the two folders."""
    checkpoint = open_checkpoint(write_kind(tmp_path / "run", micro_base, trained, condition))
    rng, channels = np.random.default_rng(0), CONDITIONS[condition].channels
    pre = [rng.integers(0, 256, (RESOLUTION, RESOLUTION, channels), np.uint8) for _ in range(2)]
    prompts, seeds = ["after a flood", "after a fire"], [7, 8]
    sampling = Sampling(steps=STEPS, guidance_scale=guidance_scale, control_scale=0.7)
    ours = generate_images(generator(tmp_path / "run"), pre, prompts, seeds, sampling)
    theirs = stock_images(
        checkpoint, pre, prompts, seeds, steps=STEPS, guidance_scale=guidance_scale, control_scale=0.7
    )
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    as_trained = generate_images(generator(tmp_path / "run"), pre, prompts, seeds, replace(sampling, control_scale=1))
    assert not np.array_equal(ours, as_trained)


def test_a_rescaled_schedule_in_stock_diffusers_is_the_recipe_of_the_docs(tmp_path: Path, micro_base: Path) -> None:
    """docs/training.md says what the stock pipeline needs after `objective.zero_terminal_snr`; these lines are run."""
    base = shutil.copytree(micro_base, tmp_path / "base")
    path = base / "scheduler/scheduler_config.json"
    plain = {"rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    path.write_text(json.dumps(json.loads(path.read_text()) | plain))
    trained = replace(open_checkpoint(write_micro_checkpoint(tmp_path / "run", base)), zero_terminal_snr=True)
    pre = noise_image(0)
    sampling = Sampling(steps=STEPS)
    ours = generate_images(load_generator(trained, open_base(trained), sampling), [pre], [""], [7], sampling)[0]
    pipeline = unmapped(
        StableDiffusionControlNetPipeline.from_pretrained(
            base, controlnet=ControlNetModel.from_pretrained(trained.folder / "controlnet"), safety_checker=None
        )
    )
    recipe = re.search(r"```python\n(.*?rescale_betas_zero_snr.*?)```", DOCS.read_text(), re.DOTALL)
    assert recipe
    without, seeds = pipeline.scheduler, torch.Generator()
    exec(recipe[1], {"pipeline": pipeline})
    images = {}
    for name, scheduler in (("as trained", pipeline.scheduler), ("without", without)):
        pipeline.scheduler = scheduler
        made = pipeline("", Image.fromarray(pre), num_inference_steps=STEPS, guidance_scale=1.0,
                        generator=seeds.manual_seed(7))  # fmt: skip
        images[name] = np.asarray(made.images[0])
    assert np.array_equal(ours, images["as trained"]) and not np.array_equal(ours, images["without"])


def test_without_control_equals_the_base(run_folder: Path, micro_base: Path) -> None:
    """At control_scale 0 the pre image does not matter and the plain pipeline gives the same image."""
    networks = generator(run_folder)
    arguments: dict[str, Any] = {"prompts": ["after a flood"], "seeds": [3]}
    without = Sampling(steps=STEPS, control_scale=0.0)
    alone = generate_images(networks, [noise_image(0)], **arguments, sampling=without)
    other_pre = generate_images(networks, [noise_image(1)], **arguments, sampling=without)
    controlled = generate_images(networks, [noise_image(0)], **arguments, sampling=Sampling(steps=STEPS))
    stock = unmapped(StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None))
    theirs = stock(
        "after a flood", num_inference_steps=STEPS, guidance_scale=1.0, generator=torch.Generator().manual_seed(3)
    ).images[0]
    assert np.abs(alone[0].astype(int) - np.asarray(theirs)).max() <= 1  # layers for CPUs round otherwise
    assert np.array_equal(alone, other_pre)
    assert not np.array_equal(alone, controlled)


def test_a_lora_is_in_memory_of_its_own(tmp_path: Path, micro_base: Path) -> None:
    """Not in its file's memory map, whose alignment would decide about the last bits."""
    unet = generator(write_kind(tmp_path / "run", micro_base, "lora")).denoiser.unet
    addresses = {name: weight.data_ptr() for name, weight in unet.named_parameters()}
    assert any("lora_" in name for name in addresses)
    assert not [name for name, address in addresses.items() if address % 64]


def test_batch_size_does_not_matter(run_folder: Path) -> None:
    """One image at a time or three at once; float sums may differ in the last bit, hence one level."""
    networks = generator(run_folder)
    pre, prompts, seeds = [noise_image(i) for i in range(3)], ["a", "b", "c"], [5, 6, 7]
    together = generate_images(networks, pre, prompts, seeds, Sampling(steps=STEPS))
    single = [generate_images(networks, [pre[i]], [prompts[i]], [seeds[i]], Sampling(steps=STEPS))[0] for i in range(3)]
    assert np.abs(together.astype(int) - np.stack(single).astype(int)).max() <= 1


def plain_run(tmp_path: Path, micro_base: Path, **settings: Any) -> Path:
    """A run on a base whose schedule does not end in pure noise, as of published bases; the steps of Turbo."""
    base = shutil.copytree(micro_base, tmp_path / "base")
    path = base / "scheduler/scheduler_config.json"
    plain = {"rescale_betas_zero_snr": False, "timestep_spacing": "trailing"} | settings
    path.write_text(json.dumps(json.loads(path.read_text()) | plain))
    return write_micro_checkpoint(tmp_path / "run", base)


@pytest.mark.parametrize("scheduler", DIFFUSION)
def test_every_solver_is_that_of_diffusers(tmp_path: Path, micro_base: Path, scheduler: Scheduler) -> None:
    """With a ControlNet and guidance, in several steps and in one, as Turbo bases are sampled; noise that a solver adds
    is from the image's own generator, so that the other image of the batch changes nothing."""
    run = plain_run(tmp_path, micro_base)
    pre, prompts, seeds = [noise_image(i) for i in range(2)], ["after a flood", "after a fire"], [7, 8]
    for steps, guidance_scale in ((STEPS, 3.0), (1, 0.0)):
        sampling = Sampling(scheduler=scheduler, steps=steps, guidance_scale=guidance_scale)
        networks = generator(run, sampling)
        ours = generate_images(networks, pre, prompts, seeds, sampling)
        theirs = stock_images(
            open_checkpoint(run), pre, prompts, seeds,
            steps=steps, guidance_scale=guidance_scale, scheduler=scheduler,
        )  # fmt: skip
        assert np.abs(ours.astype(int) - theirs).max() <= 1
        alone = generate_images(networks, pre[1:], prompts[1:], seeds[1:], sampling)
        assert np.abs(ours[1:].astype(int) - alone).max() <= 1


@pytest.mark.parametrize("scheduler", ["ddpm", "euler-a", "dpm++-sde", "lcm"])
def test_further_noise_depends_on_the_seed_alone(tmp_path: Path, micro_base: Path, scheduler: Scheduler) -> None:
    """The same seed gives the same image whatever the state of the global generator."""
    sampling = Sampling(scheduler=scheduler, steps=STEPS)
    networks = generator(plain_run(tmp_path, micro_base), sampling)
    first, again, other = (generate_images(networks, [noise_image(0)], ["a"], [seed], sampling) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("settings", "zero_snr", "unfit"),
    [
        ({}, False, set()),
        ({"prediction_type": "sample"}, False, {"pndm", "euler-a", "heun"}),
        ({}, True, {"pndm", "heun"}),
        ({"rescale_betas_zero_snr": True}, False, {"pndm", "heun"}),
    ],
)
def test_a_solver_that_does_not_fit_is_named_before_weights_are_loaded(
    tmp_path: Path,
    micro_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    zero_snr: bool,
    unfit: set[Scheduler],
) -> None:
    """What diffusers' schedulers cannot do, or silently leave out."""
    trained = open_checkpoint(plain_run(tmp_path, micro_base, **settings))
    trained = replace(trained, zero_terminal_snr=zero_snr)
    parts = open_base(trained)
    assert set(parts.samplers(zero_snr)) == set(DIFFUSION) - unfit
    monkeypatch.setattr("models.base.Base._load", None)
    for name in unfit:
        with pytest.raises(
            GenerateError, match=f"scheduler is {name}; a base .* is solved by ddim, .*--scheduler ddim"
        ):
            load_generator(trained, parts, Sampling(scheduler=name))


def test_every_solver_finds_the_same_image(run_folder: Path) -> None:
    """They solve the same differential equation from the same noise: with enough steps they agree."""
    arguments: dict[str, Any] = {"pre": [noise_image(0)] * 2, "prompts": ["after a flood"] * 2, "seeds": [3, 4]}
    exact, other = generate_images(generator(run_folder), **arguments, sampling=Sampling(steps=40)).astype(float)
    names: list[Scheduler] = ["unipc", "dpm++"]
    for name in names:
        close = generate_images(
            generator(run_folder, Sampling(scheduler=name)), **arguments, sampling=Sampling(steps=15)
        )[0]
        assert np.abs(close - exact).mean() < 0.25 * np.abs(other - exact).mean()


def test_control_start_and_end_are_those_of_diffusers(run_folder: Path, micro_base: Path) -> None:
    """The ControlNet works in the second and third of four steps only, as in the stock pipeline."""
    pre = noise_image(0)
    sampling = Sampling(steps=4, control_start=0.25, control_end=0.75)
    ours = generate_images(generator(run_folder), [pre], ["after a flood"], [7], sampling)[0]
    theirs = stock_images(
        open_checkpoint(run_folder), [pre], ["after a flood"], [7], steps=4,
        control_guidance_start=0.25, control_guidance_end=0.75,
    )[0]  # fmt: skip
    throughout = generate_images(generator(run_folder), [pre], ["after a flood"], [7], Sampling(steps=4))[0]
    assert np.array_equal(ours, theirs)
    assert not np.array_equal(ours, throughout)


@pytest.mark.parametrize("units", [True, False])
def test_bf16_starts_from_the_same_noise(run_folder: Path, monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    """The image is that of fp32 but for the rounding of the networks; another seed gives another one.

    CPUs without units for bfloat16 do not round.
    """
    monkeypatch.setattr("models.cpu.precision.bfloat16_units", lambda: units)
    fp32, bf16 = Sampling(steps=STEPS), Sampling(steps=STEPS, precision="bf16")
    exact, rough, other = (
        generate_images(generator(run_folder, sampling), [noise_image(0)], ["a"], [seed], sampling)
        for sampling, seed in ((fp32, 3), (bf16, 3), (fp32, 4))
    )
    error, distance = (np.abs(images.astype(float) - exact).mean() for images in (rough, other))
    assert (0 < error < 0.2 * distance) if units else error == 0


def test_bf16_keeps_no_network_in_float32(tmp_path: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights are rounded once, when they are loaded."""
    monkeypatch.setattr("models.cpu.precision.bfloat16_units", lambda: True)
    run = write_kind(tmp_path / "run", micro_base, "controlnet+lora")
    networks = generator(run, Sampling(precision="bf16"))
    for network in (networks.denoiser, networks.vae, networks.text_encoder):
        assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_steps_are_checked(run_folder: Path) -> None:
    """More steps than the schedule has are named."""
    with pytest.raises(GenerateError, match="steps is 1000; expected 1 to 999"):
        generate_images(generator(run_folder), [noise_image(0)], ["x"], [0], Sampling(steps=1000))


def test_weights_that_diverged(tmp_path: Path, run_folder: Path) -> None:
    """NaN weights give an error, not a black image."""
    networks = generator(run_folder)
    assert networks.denoiser.controlnet
    networks.denoiser.controlnet.controlnet_mid_block.bias[0] = torch.nan
    with pytest.raises(GenerateError, match="diverged"):
        generate_images(networks, [noise_image(0)], ["x"], [0], Sampling(steps=1))
