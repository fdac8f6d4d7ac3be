"""Rectified flow against the paper's formulas, T5 there and not there, and the blocks of a ControlNet."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3ControlNetModel
from diffusers.training_utils import compute_loss_weighting_for_sd3

from data.examples.sampler import example_rng
from models import BaseError, load_base
from models.families.family import NewControlNet
from models.families.noise import RectifiedFlow
from tests.families import write_sd3

TIMESTEPS = torch.tensor([0, 250, 999])


def flow() -> RectifiedFlow:
    return RectifiedFlow(FlowMatchEulerDiscreteScheduler(shift=3.0))


def sigmas() -> torch.Tensor:
    """Equation 23 of Esser et al. with shift 3: a share t of the way, more of it noise."""
    share = (TIMESTEPS.double() + 1) / 1000
    return 3 * share / (1 + 2 * share)


def test_latents_lie_on_the_straight_line_to_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 3, 16, 4, 4, generator=generator)
    share = sigmas().float().view(-1, 1, 1, 1)
    torch.testing.assert_close(flow().add(latents, noise, TIMESTEPS), (1 - share) * latents + share * noise)
    torch.testing.assert_close(flow().told(TIMESTEPS), (1000 * sigmas()).float())
    assert torch.equal(flow().target(latents, noise, TIMESTEPS), noise - latents)
    # diffusers' own noising at the same timesteps, and the weights of its training script
    stock = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs = stock.scale_noise(latents, flow().told(TIMESTEPS), noise)
    torch.testing.assert_close(flow().add(latents, noise, TIMESTEPS), theirs)
    assert compute_loss_weighting_for_sd3("logit_normal", sigmas()).tolist() == [1, 1, 1]


def test_timesteps_are_logit_normal() -> None:
    """Ten thousand ordinals against the closed form of every tenth: Phi(logit(b)) - Phi(logit(a))."""
    drawn = np.array([flow().draw(example_rng(3, ordinal)) for ordinal in range(10_000)])
    assert drawn.min() >= 0 and drawn.max() <= 999

    def below(share: float) -> float:
        return 0.5 * (1 + math.erf(math.log(share / (1 - share)) / math.sqrt(2)))

    edges = [0.0, *(below(tenth / 10) for tenth in range(1, 10)), 1.0]
    expected = np.diff(edges)
    found = np.histogram(drawn, bins=10, range=(0, 1000))[0] / len(drawn)
    assert np.abs(found - expected).max() < 4 * math.sqrt(expected.max() / len(drawn))  # four standard errors


def test_min_snr_weighs_the_error_of_the_clean_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, noise, error = torch.randn(3, 3, 16, 4, 4, generator=generator)
    noisy, share = flow().add(latents, noise, TIMESTEPS), sigmas().float().view(-1, 1, 1, 1)
    clean = noisy - share * (noise - latents + error)  # what a wrong direction implies
    snr = ((1 - sigmas()) / sigmas()) ** 2
    expected = snr.clamp(max=5) * ((clean - latents) ** 2).flatten(1).mean(1)
    found = flow().min_snr_weight(TIMESTEPS, 5.0) * (error**2).flatten(1).mean(1)
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("newer", [False, True])
def test_blocks_are_copied_but_for_the_last(tmp_path: Path, newer: bool) -> None:
    base = load_base(write_sd3(tmp_path / "base", newer=newer))
    network = base.load_unet()
    for blocks, expected in ((None, 2), (1, 1), (3, 3)):
        controlnet = base.family.new_controlnet(network, NewControlNet(seed=0, vae_scale_factor=8, blocks=blocks))
        assert isinstance(controlnet, SD3ControlNetModel) and len(controlnet.transformer_blocks) == expected
        mine, theirs = controlnet.state_dict(), network.state_dict()
        rest = {name for name, x in mine.items() if name not in theirs or not torch.equal(x, theirs[name])}
        assert all(name.startswith(("controlnet_blocks", "pos_embed_input")) for name in rest)
        assert not any(mine[name].any() for name in rest)
        assert controlnet.pos_embed_input.proj.in_channels == 16  # diffusers' from_transformer would expect 17
    assert network.config.num_layers == 4 and "extra_conditioning_channels" not in network.config
    for blocks in (4, 5):
        with pytest.raises(BaseError, match=rf"controlnet_blocks is {blocks}; expected 1 to 3: the last of the 4"):
            base.family.new_controlnet(network, NewControlNet(seed=0, vae_scale_factor=8, blocks=blocks))


def test_t5_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = write_sd3(tmp_path / "base", t5=True)
    assert load_base(folder).text_encoders == ["text_encoder", "text_encoder_2", "text_encoder_3"]
    shutil.rmtree(folder / "tokenizer_3")
    with pytest.raises(BaseError, match="it lacks tokenizer_3/ of T5"):
        load_base(folder)
    shutil.rmtree(folder / "text_encoder_3")
    with pytest.raises(BaseError, match=r"it lacks text_encoder_3/ of T5.*\[null, null\] for both"):
        load_base(folder)
    index = json.loads((folder / "model_index.json").read_text())
    gone = {part: [None, None] for part in ("text_encoder_3", "tokenizer_3")}
    (folder / "model_index.json").write_text(json.dumps(index | gone))
    base = load_base(folder)
    states = base.encode(base.load_text_encoder(), base.tokenize(["a town"]))["states"]
    assert states.shape == (1, 154, 80) and not states[:, 77:].any()  # zeros as long as CLIP's, as in diffusers
