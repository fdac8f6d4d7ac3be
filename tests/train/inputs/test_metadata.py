"""Metadata in training: drawn by law 1, told to the right networks, and nothing without them is any different."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from data.dataset.open import open_dataset
from data.examples.sampler import example_rng, view_of
from models import load_base
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.metadata import normalise_metadata
from models.diffusionsat.unet import SatUNet
from tests.train.conftest import Arguments, as_trained, fingerprints, losses, run
from train.config import ModelConfig
from train.config_file import parse_config
from train.errors import ConfigError
from train.inputs.examples import Examples, prepare_examples
from train.inputs.metadata import Metadata, metadata_of
from train.inputs.views import View
from train.networks import build_denoiser
from train.stages import stages_of

SHORT = ["--train.steps=4", "--train.warmup_steps=0", "--run.save_every=2"]


def examples_of(argv: list[str], **dropout: float) -> Examples:
    config = parse_config([*argv, *(f"--data.{name}={share}" for name, share in dropout.items())])
    base, dataset = load_base(config.model.base), open_dataset(config.data.dataset, "train")
    accelerator = Accelerator(cpu=True)
    return prepare_examples(accelerator, config, stages_of(config)[0], base, base.load_noise_schedule(), dataset)


def test_what_is_told_is_the_views_own_metadata_normalised(arguments: Arguments, sat_base: Path) -> None:
    """By hand, (lon + 180) / 360 * 1000 and so on; the past has the two exchanged; shown smaller, a pixel is larger."""
    argv = arguments("run", f"--model.base={sat_base}", "--data.direction=both", "--run.cache_in=off")
    examples = examples_of([*argv, "--data.resolution=16"], metadata_dropout=0, metadata_dropout_all=0)
    dataset = open_dataset(Path(argv[0].partition("=")[2]), "train")
    seen = set()
    for ordinal in range(len(examples.views)):
        view, drawn = examples.views[view_of(0, ordinal, len(examples.views))], examples[ordinal]
        row = dataset[view.patch]
        of = {"metadata": "pre" if view.past else "post", "cond_metadata": "post" if view.past else "pre"}
        for name, phase in of.items():
            lon, lat, gsd, cloud, year, month, day = row[f"metadata_{phase}"]
            gsd *= row["size"] / 16
            expected = [(lon + 180) / 0.36, (lat + 90) / 0.18, gsd * 1000, cloud * 1000]
            expected += [(year - 1980) / 0.12, month / 0.012, day / 0.031]
            assert drawn[name].dtype == torch.float32
            np.testing.assert_allclose(drawn[name], expected, rtol=1e-5)
            assert np.isnan(cloud)  # xBD does not tell the clouds
        seen.add((view.past, view.mirrored))
    assert len(seen) == 4


def test_dropout_comes_after_all_other_draws_and_leaves_them_alone(
    arguments: Arguments, sat_base: Path, tiny_dataset: Path
) -> None:
    """Everything but the metadata is the example of a run without them, at every setting of the objective."""
    options = ["--objective.noise_offset=0.1", "--objective.input_perturbation=0.1", f"--model.base={sat_base}"]
    told = examples_of(arguments("run", *options), metadata_dropout=0.5, metadata_dropout_all=0.2)
    plain = examples_of(arguments("run", *options, "--model.metadata=none"))
    differ, dataset = [], open_dataset(tiny_dataset, "train")
    for ordinal in range(8):
        one, other = told[ordinal], plain[ordinal]
        assert set(one) - set(other) == {"metadata", "cond_metadata"}
        assert all(torch.equal(one[name], other[name]) for name in other if name != "fingerprint")
        differ.append(bool(one["fingerprint"] != other["fingerprint"]))
        rng = example_rng(0, ordinal)
        rng.random(), rng.random(), rng.integers(1000)
        for shape in ((4, 4, 4), (4, 4, 4), (4, 1, 1), (4, 4, 4)):
            rng.standard_normal(shape, dtype=np.float32)
        dropped = (rng.random((2, 7)) < 0.5) | (rng.random((2, 1)) < 0.2)
        found = torch.stack([one["metadata"], one["cond_metadata"]]).isnan().numpy()
        row = dataset[plain.views[view_of(0, ordinal, len(plain.views))].patch]
        dropped |= np.isnan([row["metadata_post"], row["metadata_pre"]])  # what was never known
        assert np.array_equal(found, dropped)
    assert all(differ)  # the fingerprint covers what was dropped


def dropped_in(dropout: float, dropout_all: float, count: int = 4000) -> np.ndarray:
    """Which numbers are unknown, (count, 2, 7)."""
    known = torch.ones(1, 7)
    metadata = Metadata({"pre": known, "post": known}, torch.empty(1, 0, 7), dropout, dropout_all)
    view = View(0, mirrored=False)
    draws = [metadata.draw(example_rng(3, ordinal), view)[0] for ordinal in range(count)]
    return np.array([[draw["metadata"].isnan().tolist(), draw["cond_metadata"].isnan().tolist()] for draw in draws])


def test_numbers_are_dropped_one_by_one_and_all_at_once() -> None:
    """Shares against the binomial's own spread (five standard deviations), target and condition independent."""

    def near(found: Any, share: float) -> bool:
        return bool(np.all(np.abs(found - share) < 5 * np.sqrt(share * (1 - share) / 4000)))

    each = dropped_in(0.1, 0)
    assert near(each.mean(0), 0.1)  # every field of both
    assert near((each[:, 0, 0] & each[:, 0, 1]).mean(), 0.01) and near((each[:, 0, 2] & each[:, 1, 2]).mean(), 0.01)
    whole = dropped_in(0, 0.2)
    assert (whole.all(2) == whole.any(2)).all()
    assert near(whole[:, :, 0].mean(0), 0.2) and near(whole[:, :, 0].all(1).mean(), 0.04)
    assert near(dropped_in(0.1, 0.2).mean(0), 1 - 0.9 * 0.8)
    assert not dropped_in(0, 0, 50).any() and dropped_in(1, 0, 50).all()


def test_runs_without_metadata_draw_what_they_always_drew(tmp_path: Path, arguments: Arguments, sat_base: Path) -> None:
    """Whatever the new settings say on a plain base, and on a metadata base whose metadata are left out."""
    run(arguments("plain", "--train.steps=2"))
    run(arguments("settings", "--train.steps=2", "--data.metadata_dropout=0.7", "--data.metadata_dropout_all=0.3"))
    run(arguments("none", "--train.steps=2", f"--model.base={sat_base}", "--model.metadata=none"))
    run(arguments("told", "--train.steps=2", f"--model.base={sat_base}"))
    assert fingerprints(tmp_path / "plain") == fingerprints(tmp_path / "settings") == fingerprints(tmp_path / "none")
    assert losses(tmp_path / "plain") == losses(tmp_path / "settings")
    assert not set(fingerprints(tmp_path / "told")) & set(fingerprints(tmp_path / "plain"))


def test_micro_batches_workers_and_cache_change_nothing(tmp_path: Path, arguments: Arguments, sat_base: Path) -> None:
    base = [f"--model.base={sat_base}", *SHORT]
    run(arguments("whole", *base, "--train.micro_batch=4"))
    run(arguments("parts", *base, "--train.micro_batch=1", "--run.workers=2"))
    run(arguments("off", *base, "--run.cache_in=off"))
    for name in ("parts", "off"):
        assert fingerprints(tmp_path / name) == fingerprints(tmp_path / "whole")
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    natural = torch.tensor([[-85.6, 30.2, 0.55, torch.nan, 2018, 10, 13]], dtype=torch.float64)
    return {
        "noisy": torch.randn(count, 4, 4, 4, generator=generator),
        "timesteps": torch.tensor([3, 900])[:count],
        "states": torch.randn(count, 77, 64, generator=generator),
        "condition": torch.rand(count, 3, 32, 32, generator=generator),
        "metadata": normalise_metadata(natural).expand(count, -1),
        "cond_metadata": normalise_metadata(natural - torch.tensor([0, 0, 0, 0, 1, 0, 0])).expand(count, -1),
    }


KINDS: dict[str, dict[str, Any]] = {
    "sat": {},
    "sat, zero": {"null_metadata": "zero"},
    "sat, with LoRA": {"trained": "controlnet+lora", "condition": "latents"},
    "sat, LoRA alone": {"trained": "lora"},
    "plain, ControlNet": {"metadata": "control"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_step_zero_is_the_base_and_then_metadata_count(kind: str, sat_base: Path, micro_base: Path) -> None:
    """Bit for bit, with the metadata of the image told to the UNet; trained, each kind of metadata has its say."""
    base = load_base(sat_base if kind.startswith("sat") else micro_base)
    model = ModelConfig(**KINDS[kind])
    denoiser = build_denoiser(base, model, "fp32", 0, torch.device("cpu"))
    inputs = batch()
    if model.condition == "latents":
        inputs["condition"] = inputs["noisy"].flip(0)
    told = {"metadata": inputs["metadata"]} if kind.startswith("sat") else {}
    with torch.no_grad():
        plain = as_trained(base.load_unet())(inputs["noisy"], inputs["timesteps"], inputs["states"], **told).sample
        assert torch.equal(denoiser(**inputs), plain)
        generator = torch.Generator().manual_seed(1)
        for weight in denoiser.trained().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        made = denoiser(**inputs)
        other = {
            name: denoiser(**inputs | {name: torch.full_like(inputs[name], torch.nan)})
            for name in ("metadata", "cond_metadata")
        }
    assert not torch.allclose(made, other["metadata"], atol=1e-4)
    assert torch.equal(made, other["cond_metadata"]) == (model.trained == "lora")  # shown nothing, told nothing of it
    if denoiser.controlnet is not None:
        assert denoiser.controlnet.config.null_metadata == model.null_metadata
        names = {name for name in denoiser.trained() if "metadata_embedding" in name}
        assert ("controlnet.metadata_embedding.null" in names) == (model.null_metadata == "learned")
        assert len(names) == 28 + (model.null_metadata == "learned")
    assert not any(name.startswith("unet.metadata_embedding") for name in denoiser.trained())


def test_without_metadata_a_sat_base_has_a_plain_controlnet(sat_base: Path) -> None:
    denoiser = build_denoiser(load_base(sat_base), ModelConfig(metadata="none"), "fp32", 0, torch.device("cpu"))
    assert not isinstance(denoiser.controlnet, SatControlNet) and isinstance(denoiser.unet, SatUNet)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_metadata_stay_float32_under_autocast(sat_base: Path, precision: str) -> None:
    """What the sinusoids are made of, in UNet and ControlNet."""
    model = ModelConfig(trained="controlnet+lora")
    denoiser = build_denoiser(load_base(sat_base), model, precision, 0, torch.device("cpu"))
    seen = []
    for network in (denoiser.unet, denoiser.controlnet):
        assert network is not None
        network.metadata_embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    inputs = batch()
    denoiser(**inputs)
    assert [values.dtype for values in seen] == [torch.float32] * 3
    assert torch.equal(seen[0].nan_to_num(), inputs["metadata"].nan_to_num())


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config([
            "--data.dataset=d", "--run.out=r", "--model.trained=lora", "--model.metadata=control",
            "--data.metadata_dropout=2", "--data.metadata_dropout_all=-1",
        ])  # fmt: skip
    assert "model.metadata is control, but model.trained is lora" in str(error.value)
    assert "data.metadata_dropout is 2" in str(error.value)
    assert "data.metadata_dropout_all is -1" in str(error.value)


def test_metadata_out_of_range_stop_the_run(tiny_dataset: Path) -> None:
    """Normalised already, perhaps by another program."""
    dataset = open_dataset(tiny_dataset, "train").select_columns(["size", "metadata_pre", "metadata_post"])
    shifted = dataset.map(lambda row: {"metadata_post": [264.5, *row["metadata_post"][1:]]})
    with pytest.raises(
        ConfigError, match=r"metadata_pre, _post, _history: metadata field lon is 264.5\. .* model\.metadata none"
    ):
        metadata_of(shifted, 32, 0.1, 0.1)
