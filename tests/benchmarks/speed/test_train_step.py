"""The loop that we are measured against does the same work; the benchmark runs from end to end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import benchmarks.speed.train_step
from benchmarks.floor import step_flops
from benchmarks.results import write_section
from benchmarks.speed.reference_loop import Pairs, load_networks, loss_of
from benchmarks.speed.train_step import SIZES, train_step
from data.dataset.open import open_dataset
from models import load_base
from models.text import text_states
from tests.data.conftest import tiny_dataset
from train.config import ModelConfig
from train.inputs.cache import encode_images
from train.inputs.examples import sample
from train.networks import build_denoiser, noise_schedule
from train.objective import denoising_loss

__all__ = ["tiny_dataset"]


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    spread, noise = (torch.randn(2, 4, 4, 4, generator=random) for _ in range(2))
    return spread, noise, torch.tensor([50, 700])


def set_zero_convolutions(controlnet: nn.Module) -> None:
    """As if it had been trained: or else it has no say, and its gradients are mostly zero."""
    random = torch.Generator().manual_seed(4)
    for name, weight in controlnet.named_parameters():
        if not weight.any():
            weight.data = torch.randn(weight.shape, generator=random) * 0.1
        assert weight.any(), name


def test_both_loops_have_the_same_loss_and_gradient(micro_base: Path, tiny_dataset: Path) -> None:
    base, patches = load_base(micro_base), open_dataset(tiny_dataset, "train")
    spread, noise, timesteps = drawn()
    size = patches[0]["size"]
    assert size == 32

    frozen, theirs = load_networks(micro_base)
    set_zero_convolutions(theirs)
    pairs = Pairs(patches, base.load_tokenizer(), resolution=size)
    batch = {name: torch.stack([pairs[0][name], pairs[1][name]]) for name in pairs[0]}
    reference = loss_of(frozen, theirs, batch, spread, noise, timesteps)
    reference.backward()

    denoiser = build_denoiser(base, ModelConfig(), "fp32", 0, torch.device("cpu"))
    assert denoiser.controlnet is not None
    denoiser.controlnet.load_state_dict(theirs.state_dict())
    pre, post = ((torch.stack([read(patches[row][phase]) for row in (0, 1)])) for phase in ("pre", "post"))
    captions = [next(c["text"] for c in patches[row]["captions"] if wanted(c)) for row in (0, 1)]
    with torch.no_grad():
        posterior = encode_images(base.load_vae(), post)
        states = text_states(base.load_tokenizer(), base.load_text_encoder(), captions, 1)
    ours, _ = denoising_loss(
        denoiser,
        noise_schedule(base, False),
        {
            "latents": sample(posterior, spread, base.latents),
            "noise": noise,
            "input_noise": noise,
            "timestep": timesteps,
            "encoder_hidden_states": states,
            "condition": pre,
        },
    )
    ours.mean().backward()

    torch.testing.assert_close(ours.mean(), reference, rtol=1e-5, atol=1e-6)
    for (name, expected), found in zip(theirs.named_parameters(), denoiser.controlnet.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)


def read(image: object) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def wanted(caption: dict[str, str]) -> bool:
    return caption["style"] == "short" and caption["target"] == "post"


def test_operations_are_counted_per_example(micro_base: Path) -> None:
    one, two = (step_flops(load_base(micro_base), resolution=32, batch=batch) for batch in (1, 2))
    assert two == {name: 2 * count for name, count in one.items()}
    # The first convolution of the VAE alone: 8 channels from 3 x 3 x 3 values at 32 x 32 places.
    assert one["encoders"] > 2 * 8 * 27 * 32 * 32


def test_a_section_takes_the_place_of_its_older_self(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    for title, text in (("One", "first"), ("Two", "other"), ("One", "second")):
        write_section(title, text, results)
    written = results.read_text()
    assert "first" not in written
    assert written.index("# Results") < written.index("## One\n\nsecond") < written.index("## Two\n\nother")


@pytest.mark.slow
def test_the_benchmark_runs_from_end_to_end(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(SIZES["tiny"], batch=2, window=1, warm_up=0, windows=1, rounds=1)
    monkeypatch.setattr(benchmarks.speed.train_step, "SIZES", {"tiny": short})
    (tmp_path / "dataset").symlink_to(tiny_dataset)
    train_step(work=tmp_path, sizes=["tiny"], results=tmp_path / "RESULTS.md")
    written = (tmp_path / "RESULTS.md").read_text()
    assert all(f"| {program} |" in written for program in ("reference, fp32", "ours, fp32", "ours, bf16"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RESULTS.md", "cache", "dataset"]
