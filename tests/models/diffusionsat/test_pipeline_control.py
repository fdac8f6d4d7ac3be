"""The pipeline with metadata and a ControlNet, or several."""

from typing import Any

import pytest
import torch
from PIL import Image

from models import controlnet_from_unet
from models.diffusionsat.conditions import ConditionError
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.pipeline import SatPipeline
from tests.models.diffusionsat.test_pipeline import LATER, PLACE, made, noise, quiet, seen, with_control
from tests.models.parity import difference
from tests.models.released import random_weights


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_controlnet_is_told_both_metadata(parts: dict[str, Any], guidance_scale: float) -> None:
    """The condition goes to both halves, the metadata to one."""
    pipeline, image = with_control(parts), torch.rand(2, 3, 32, 32)
    calls, stop = seen(pipeline.controlnet)
    made(pipeline, ["a", "b"], metadata=[PLACE, LATER], cond_metadata=[LATER, PLACE], image=image,
         guidance_scale=guidance_scale)  # fmt: skip
    stop()
    call, halves = calls[0], 1 + (guidance_scale > 1)
    assert torch.equal(call["args"][3], torch.cat([image] * halves))
    years = torch.tensor([37.0, 38.0]) / 120 * 1000
    assert torch.equal(call["metadata"][-2:, 4], years) and torch.equal(call["cond_metadata"][-2:, 4], years.flip(0))
    if halves == 2:
        assert call["metadata"][:2].isnan().all() and call["cond_metadata"][:2].isnan().all()


def test_guess_mode_sees_the_conditional_half_alone(parts: dict[str, Any]) -> None:
    """The original gives two halves of metadata to one half of latents there."""
    pipeline = with_control(parts)
    calls, stop = seen(pipeline.controlnet)
    unet_calls, stop_unet = seen(pipeline.unet)
    made(pipeline, metadata=PLACE, cond_metadata=LATER, image=torch.rand(1, 3, 32, 32), guess_mode=True,
         guidance_scale=3.0)  # fmt: skip
    stop(), stop_unet()
    assert [len(calls[0][name]) for name in ("metadata", "cond_metadata")] == [1, 1] and len(calls[0]["args"][0]) == 1
    mid = unet_calls[0]["mid_block_additional_residual"]
    assert len(mid) == 2 and not mid[0].any() and mid[1].any()


def test_a_condition_at_half_size_makes_images_of_full_size(parts: dict[str, Any]) -> None:
    """The original's default is the condition's own size."""
    network = random_weights(
        controlnet_from_unet(parts["unet"], vae_scale_factor=8, seed=0, kind=SatControlNet, conditioning_downsampling=4)
    )
    pipeline = quiet(SatPipeline(**parts, controlnet=network))
    assert made(pipeline, image=torch.rand(1, 3, 16, 16)).shape[-2:] == (4, 4)
    picture = Image.new("RGB", (50, 50), "green")
    assert made(pipeline, image=picture, height=64, width=32).shape[-2:] == (8, 4)
    with pytest.raises(ConditionError, match=r"Expected \(N, 3, 16, 16\)"):
        made(pipeline, image=torch.rand(1, 3, 32, 32), height=32, width=32)


def test_a_sequence_of_images(parts: dict[str, Any]) -> None:
    """PIL images with a date each, two prompts, two images of each."""
    pipeline = with_control(parts, SatControlNet3D)
    sequence = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    dates = [PLACE | {"month": month} for month in (1, 5, 9)]
    together = made(
        pipeline, ["a", "b"], image=[sequence, sequence[::-1]], metadata=PLACE, cond_metadata=[dates, dates[::-1]],
        num_images_per_prompt=2, latents=noise(4),
    )  # fmt: skip
    alone = made(pipeline, "b", image=[sequence[::-1]], metadata=PLACE, cond_metadata=[dates[::-1]],
                 latents=noise(4)[2:3])  # fmt: skip
    assert torch.allclose(together[2:3], alone, atol=1e-4)


def test_two_controlnets(parts: dict[str, Any]) -> None:
    """At strength 0 the second adds nothing; its condition and metadata are its own."""
    pipeline, images = with_control(parts, count=2), [torch.rand(1, 3, 32, 32) for _ in range(2)]
    arguments = {"metadata": PLACE, "latents": noise(1)}
    first_only = made(pipeline, image=images, cond_metadata=[LATER, PLACE], **arguments,
                      controlnet_conditioning_scale=[1.0, 0.0])  # fmt: skip
    single = quiet(SatPipeline(**parts, controlnet=pipeline.controlnet.nets[0]))
    assert torch.allclose(first_only, made(single, image=images[0], cond_metadata=LATER, **arguments), atol=1e-5)
    both = made(pipeline, image=images, cond_metadata=[LATER, None], **arguments)
    assert difference(both, first_only) > 1e-4
    with pytest.raises(ConditionError, match="1 entries for 2 ControlNets"):
        made(pipeline, image=images[:1])


def test_a_controlnet_wants_an_image(parts: dict[str, Any]) -> None:
    with pytest.raises(ConditionError, match="but no conditioning image"):
        made(with_control(parts))
