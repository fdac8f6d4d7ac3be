"""The pipeline with metadata: equal to the original, and free of its bugs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPipeline, UniPCMultistepScheduler
from torch import Tensor

from models import controlnet_from_unet, load_base
from models.diffusionsat.conditions import ConditionError
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.metadata import MetadataError, denormalise_metadata
from models.diffusionsat.pipeline import SatPipeline
from models.diffusionsat.unet import SatUNet
from tests.models.parity import HERE, TOLERANCE, case, difference, seeded
from tests.models.released import random_weights
from tests.worlds import unmapped

PLACE = {"lon": -95.5, "lat": 30.25, "gsd": 0.5, "cloud_cover": 0.0, "year": 2017, "month": 9, "day": 1}
LATER = PLACE | {"year": 2018}
FAST: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "guidance_scale": 1.0}


@pytest.fixture
def pipeline(parts: dict[str, Any]) -> SatPipeline:
    return quiet(SatPipeline(**parts))


def quiet(pipeline: SatPipeline) -> SatPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def with_control(parts: dict[str, Any], kind: type[SatControlNet] = SatControlNet, count: int = 1) -> SatPipeline:
    nets = [
        random_weights(controlnet_from_unet(parts["unet"], vae_scale_factor=8, seed=0, kind=kind), seed=9 + number)
        for number in range(count)
    ]
    return quiet(SatPipeline(**parts, controlnet=nets if count > 1 else nets[0]))


def noise(images: int, seed: int = 0) -> Tensor:
    return seeded(images, 4, 4, 4, seed=seed)


def made(pipeline: SatPipeline, prompt: Any = "a", **arguments: Any) -> Tensor:
    """Final latents of two fast steps."""
    latents: Tensor = pipeline(prompt, **FAST | arguments).images
    return latents


def seen(module: torch.nn.Module) -> tuple[list[dict[str, Any]], Callable[[], None]]:
    """What a network is called with from now on, and how to stop listening."""
    calls: list[dict[str, Any]] = []
    handle = module.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append({"args": args, **kwargs}), with_kwargs=True
    )
    return calls, handle.remove


def test_the_original_pipeline(parts: dict[str, Any]) -> None:
    """DDIM from the released config, four steps, guidance 3, the unconditional half without metadata."""
    parity = case("pipeline_single")
    unet = SatUNet.from_pretrained(HERE / "satunet", torch_dtype=torch.float32)
    scheduler = DDIMScheduler.from_config(parity.described["scheduler_config"])
    pipeline = quiet(SatPipeline(**parts | {"unet": unet, "scheduler": scheduler}))
    steps: list[Tensor] = []
    final = pipeline(
        prompt_embeds=parity.inputs["prompt_embeds"],
        negative_prompt_embeds=parity.inputs["negative_prompt_embeds"],
        metadata=denormalise_metadata(parity.inputs["metadata"].double()),
        latents=parity.inputs["latents"],
        height=64,
        width=48,
        num_inference_steps=4,
        guidance_scale=3.0,
        output_type="latent",
        on_step=lambda done, latents: steps.append(latents),
    ).images
    assert scheduler.timesteps.tolist() == parity.described["timesteps"]
    for number, latents in enumerate(steps):
        assert difference(latents, parity.outputs[f"step.{number}.latents"]) < TOLERANCE
    assert difference(final, parity.outputs["latents"]) < TOLERANCE


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_without_metadata_it_is_stable_diffusion(micro_base: Path, guidance_scale: float) -> None:
    """Against diffusers' own pipeline on the same folder: same text, same noise, same image."""
    arguments: dict[str, Any] = {"guidance_scale": guidance_scale, "num_inference_steps": 3, "output_type": "np"}
    base = load_base(micro_base)
    ours = quiet(
        SatPipeline(
            base.load_vae(), base.load_text_encoder(), base.load_tokenizer(), base.load_unet(), base.load_sampler()
        )
    )
    theirs = unmapped(StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None))
    theirs.set_progress_bar_config(disable=True)
    prompts = ["a town", "a flood"]
    generators = [[torch.Generator().manual_seed(seed) for seed in (1, 2)] for _ in range(2)]
    expected = theirs(prompts, **arguments, generator=generators[0]).images
    assert abs(ours(prompts, **arguments, generator=generators[1]).images - expected).max() < 1e-5
    with pytest.raises(MetadataError, match="neither UNet nor ControlNet was made for it"):
        ours("a town", metadata=PLACE)


@pytest.mark.parametrize("keep", [False, True])
def test_guidance_leads_away_from_no_metadata(pipeline: SatPipeline, keep: bool) -> None:
    """u + g (c - u), where u knows no metadata unless it is kept: from two runs without guidance, one step."""
    one: dict[str, Any] = FAST | {"num_inference_steps": 1, "latents": noise(1)}
    states: dict[str, Any] = {
        "prompt_embeds": seeded(1, 77, 64, seed=1),
        "negative_prompt_embeds": seeded(1, 77, 64, seed=2),
    }
    predicted: list[Tensor] = []
    handle = pipeline.unet.register_forward_hook(lambda module, args, output: predicted.append(output[0]))
    pipeline(**one | {"guidance_scale": 5.0}, **states, metadata=PLACE, keep_metadata=keep)
    pipeline(**one, prompt_embeds=states["prompt_embeds"], metadata=PLACE)
    pipeline(**one, prompt_embeds=states["negative_prompt_embeds"], metadata=PLACE if keep else None)
    handle.remove()
    both, conditional, unconditional = predicted
    assert torch.allclose(both, torch.cat([unconditional, conditional]), atol=1e-5)
    assert difference(unconditional, conditional) > 1e-3


def test_no_guidance_computes_no_second_half(pipeline: SatPipeline) -> None:
    calls, stop = seen(pipeline.unet)
    made(pipeline, metadata=PLACE)
    made(pipeline, metadata=PLACE, guidance_scale=2.0)
    stop()
    assert [len(call["args"][0]) for call in calls] == [1, 1, 2, 2]
    assert [len(call["metadata"]) for call in calls] == [1, 1, 2, 2]
    assert calls[2]["metadata"][0].isnan().all() and not calls[2]["metadata"][1].isnan().any()


def test_metadata_matters_and_unknown_is_not_zero_degrees(pipeline: SatPipeline) -> None:
    arguments = {"latents": noise(1)}
    images = [made(pipeline, metadata=m, **arguments) for m in (PLACE, LATER, None, PLACE | {"lon": None})]
    assert all(difference(images[i], images[j]) > 1e-4 for i in range(4) for j in range(i))


def test_a_batch_is_its_rows(pipeline: SatPipeline) -> None:
    together = made(pipeline, ["a", "b"], metadata=[PLACE, LATER], latents=noise(2))
    for row, (prompt, metadata) in enumerate((("a", PLACE), ("b", LATER))):
        alone = made(pipeline, prompt, metadata=metadata, latents=noise(2)[row : row + 1])
        assert torch.allclose(together[row : row + 1], alone, atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_several_images_per_prompt(pipeline: SatPipeline, guidance_scale: float) -> None:
    """The original repeats text but not metadata there, and fails."""
    arguments: dict[str, Any] = {"guidance_scale": guidance_scale}
    together = made(
        pipeline, ["a", "b"], metadata=[PLACE, LATER], num_images_per_prompt=2, latents=noise(4), **arguments
    )
    assert together.shape == (4, 4, 4, 4)
    for row, (prompt, metadata) in enumerate((("a", PLACE), ("a", PLACE), ("b", LATER), ("b", LATER))):
        alone = made(pipeline, prompt, metadata=metadata, latents=noise(4)[row : row + 1], **arguments)
        assert torch.allclose(together[row : row + 1], alone, atol=1e-4)


def test_metadata_stays_float32_in_a_half_precision_pipeline(parts: dict[str, Any]) -> None:
    """The original casts it to the text states' precision: 926 in steps of 0.5, a gsd of 4206 in steps of 4."""
    unet = SatUNet.from_config(parts["unet"].config).bfloat16()
    pipeline = quiet(SatPipeline(**parts | {"unet": unet}))
    calls, stop = seen(pipeline.unet)
    made(pipeline, metadata=PLACE | {"gsd": 4.206, "lon": 153.3167})
    stop()
    assert calls[0]["args"][0].dtype == torch.bfloat16 and calls[0]["metadata"].dtype == torch.float32
    assert calls[0]["metadata"][0, [0, 2]].tolist() == pytest.approx([925.8797, 4206.0], abs=1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of some schedulers of diffusers
@pytest.mark.parametrize("scheduler", [UniPCMultistepScheduler, EulerAncestralDiscreteScheduler])
def test_other_schedulers(parts: dict[str, Any], scheduler: Any) -> None:
    """Those with noise of their own, scaled inputs or several orders; the same seed, the same image."""
    config = dict(parts["scheduler"].config) | {"rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    pipeline = quiet(SatPipeline(**parts | {"scheduler": scheduler.from_config(config)}))
    images = [
        made(pipeline, metadata=PLACE, num_inference_steps=4, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert images[0].isfinite().all()


def test_one_generator_per_image(pipeline: SatPipeline) -> None:
    """An image does not depend on its batch."""
    generators = [torch.Generator().manual_seed(seed) for seed in (4, 5)]
    together = made(pipeline, ["a", "a"], metadata=PLACE, generator=generators)
    alone = made(pipeline, "a", metadata=PLACE, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(together[1:], alone, atol=1e-5)
    with pytest.raises(ConditionError, match="2 generators for 1 images"):
        made(pipeline, "a", generator=generators)


def test_the_size_is_the_unets_own_unless_said(pipeline: SatPipeline) -> None:
    assert made(pipeline).shape[-2:] == (4, 4)
    assert made(pipeline, height=48, width=16).shape[-2:] == (6, 2)
    with pytest.raises(ConditionError, match="20 x 32 px: both must be multiples of 8"):
        made(pipeline, width=20)


def test_saved_and_loaded_by_one_call(parts: dict[str, Any], tmp_path: Path) -> None:
    """Every part, the ControlNet too, from model_index.json alone; a user's own card is left alone."""
    pipeline = with_control(parts)
    pipeline.save_pretrained(tmp_path)
    again = quiet(SatPipeline.from_pretrained(tmp_path))
    arguments = {"metadata": PLACE, "cond_metadata": LATER, "image": torch.rand(1, 3, 32, 32), "latents": noise(1)}
    assert torch.allclose(made(again, **arguments), made(pipeline, **arguments), atol=1e-5)
    card = (tmp_path / "README.md").read_text()
    assert "images of 32 px" in card and "SatControlNet" in card and 'metadata={"lon"' in card
    (tmp_path / "README.md").write_text("mine")
    pipeline.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metadata": PLACE | {"lon": 264.5}}, MetadataError, "field lon is 264.5"),
        ({"metadata": [PLACE, LATER, PLACE]}, MetadataError, "has 3 entries for 1 prompts"),
        ({"image": torch.rand(1, 3, 32, 32)}, ConditionError, "an image but no ControlNet"),
        ({"cond_metadata": PLACE}, MetadataError, "neither UNet nor ControlNet"),
        ({"prompt": None}, ConditionError, "either prompt or prompt_embeds"),
        ({"latents": noise(2)}, ConditionError, r"Expected \(1, 4, 4, 4\)"),
    ],
)
def test_mistakes(pipeline: SatPipeline, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(pipeline, **arguments)
