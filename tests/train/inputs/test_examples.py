"""What a draw holds, against its definition: offset noise, perturbed input, weights and conditions of the very view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import default_collate

from data.dataset.open import open_dataset
from data.examples.condition import CONDITIONS
from data.examples.holes import hole_of
from data.examples.sampler import example_rng, view_of
from models import load_base
from tests.train.conftest import Arguments
from train.config_file import parse_config
from train.inputs.encode import encoder_of
from train.inputs.examples import Examples, prepare_examples
from train.stages import stages_of


@pytest.fixture
def examples(tmp_path: Path, arguments: Arguments, tiny_dataset: Path, micro_base: Path) -> Examples:
    weights = "--objective.damage_weights={destroyed: 2.0}"  # so that the rows hold all images
    config = parse_config(arguments("run", "--data.direction=both", "--run.cache_in=off", weights))
    base, dataset = load_base(micro_base), open_dataset(tiny_dataset, "train")
    accelerator = Accelerator(cpu=True)
    return prepare_examples(accelerator, config, stages_of(config)[0], base, base.load_noise_schedule(), dataset)


def redrawn(ordinal: int) -> tuple[np.random.Generator, np.ndarray]:
    """The generator after caption, dropout and timestep, and the noise."""
    rng = example_rng(0, ordinal)
    rng.random(), rng.random(), rng.integers(1000)
    noise = rng.standard_normal((4, 4, 4), dtype=np.float32)
    rng.standard_normal((4, 4, 4), dtype=np.float32)
    return rng, noise


def test_offset_and_perturbation_are_added_to_the_noise(examples: Examples) -> None:
    changed = replace(examples, recipe=replace(examples.recipe, noise_offset=0.5, input_perturbation=0.25))
    for ordinal in (0, 7):
        rng, noise = redrawn(ordinal)
        plain, drawn = examples[ordinal], changed[ordinal]
        assert torch.equal(plain["noise"], torch.from_numpy(noise)) and torch.equal(
            plain["input_noise"], plain["noise"]
        )
        offset = rng.standard_normal((4, 1, 1), dtype=np.float32)
        extra = rng.standard_normal((4, 4, 4), dtype=np.float32)
        np.testing.assert_allclose(drawn["noise"], noise + 0.5 * offset, rtol=1e-6)
        np.testing.assert_allclose(drawn["input_noise"], noise + 0.5 * offset + 0.25 * extra, rtol=1e-5, atol=1e-6)
        assert drawn["fingerprint"] != plain["fingerprint"]


def test_condition_target_and_weights_show_the_same_view(examples: Examples) -> None:
    """Mirrored or not, future or past: all from one row, flipped together."""
    weighted = replace(
        examples,
        recipe=replace(examples.recipe, condition=CONDITIONS["pixels+mask"], damage_weights=[1.0, 2.0, 3.0, 4.0, 5.0]),
    )
    kinds = set()
    for ordinal in range(len(examples.views)):
        view = examples.views[view_of(0, ordinal, len(examples.views))]
        row, drawn = examples.images[view.patch], weighted[ordinal]
        if row["damage_mask"] is None:
            continue
        pre, post, mask = (np.array(row[name]) for name in ("pre", "post", "damage_mask"))
        if view.mirrored:
            pre, post, mask = pre[:, ::-1], post[:, ::-1], mask[:, ::-1]
        source, target = (post, pre) if view.past else (pre, post)
        assert np.array_equal(drawn["target_pixels"].permute(1, 2, 0), target)
        assert np.array_equal(drawn["condition"][:3].permute(1, 2, 0), source)
        shown = (mask > 0).astype(int) if view.past else mask
        assert np.array_equal(drawn["condition"][3:], 255 * (shown == np.arange(5)[:, None, None]))
        weights = np.array([1, 2, 3, 4, 5] + [0] * 251, float)[mask].reshape(4, 8, 4, 8).mean((1, 3))
        if not row["nodata_fraction"]:
            np.testing.assert_allclose(drawn["loss_weights"], weights / (mask != 255).mean(), rtol=1e-5)
        kinds.add((view.mirrored, view.past))
    assert len(kinds) == 4


def test_beside_latents_a_mask_is_reduced_to_their_cells(
    arguments: Arguments, tiny_dataset: Path, micro_base: Path
) -> None:
    """With a cache and without: the latents of the image alone, and of each class the share of a cell's pixels."""
    base, dataset = load_base(micro_base), open_dataset(tiny_dataset, "train")

    def prepared(condition: str, cache: str) -> Examples:
        given = f"--model.condition={condition}", f"--run.cache_in={cache}", "--data.direction=both"
        config, accelerator = parse_config(arguments("run", *given)), Accelerator(cpu=True)
        return prepare_examples(accelerator, config, stages_of(config)[0], base, base.load_noise_schedule(), dataset)

    cached, alone = (prepared(condition, "memory") for condition in ("latents+mask", "latents"))
    uncached = prepared("latents+mask", "off")
    ordinals, kinds = range(len(cached.views)), set()
    for ordinal in ordinals:
        view = cached.views[view_of(0, ordinal, len(cached.views))]
        mask = np.array(dataset[view.patch]["damage_mask"])[:, :: -1 if view.mirrored else 1]
        shown = (mask > 0).astype(int) if view.past else mask
        cells = (shown == np.arange(5)[:, None, None]).reshape(5, 4, 8, 4, 8).mean((2, 4))
        condition = cached[ordinal]["condition"]
        np.testing.assert_allclose(condition[4:], cells, rtol=1e-6)
        assert torch.equal(condition[:4], alone[ordinal]["condition"])
        kinds.add((view.mirrored, view.past))
    assert len(kinds) == 4
    encoded = encoder_of(base, uncached.recipe, torch.device("cpu"))(default_collate([uncached[i] for i in ordinals]))
    torch.testing.assert_close(encoded["condition"], torch.stack([cached[i]["condition"] for i in ordinals]))


def test_what_is_restored_is_the_target_itself(examples: Examples) -> None:
    """At a lower resolution, or without a hole that is the example's own; what shows no ground has no weight."""
    holes = []
    for ordinal in range(len(examples.views)):
        view = examples.views[view_of(0, ordinal, len(examples.views))]
        row = examples.images[view.patch]
        target = row[view.target]
        recipe = replace(examples.recipe, condition=CONDITIONS["coarse4"], damage_weights=None)
        coarse = replace(examples, recipe=recipe)[ordinal]
        expected = target.resize((8, 8), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BICUBIC)
        flip = slice(None, None, -1 if view.mirrored else 1)
        assert np.array_equal(coarse["condition"].permute(1, 2, 0), np.array(expected)[:, flip])
        assert "loss_weights" not in coarse
        drawn = replace(examples, recipe=replace(recipe, condition=CONDITIONS["hole"]))[ordinal]
        rng, _ = redrawn(ordinal)
        hole = hole_of(rng, 32)
        missing = (np.array(target) == 0).all(-1) if row["nodata_fraction"] else np.zeros((32, 32), bool)
        assert np.array_equal(drawn["condition"][3] > 0, (hole | missing)[:, flip])
        kept = ~(hole | missing)[:, flip]
        shown = drawn["condition"][:3].permute(1, 2, 0).numpy()
        assert np.array_equal(shown[kept], np.array(target)[:, flip][kept])
        weights = (~missing[:, flip]).reshape(4, 8, 4, 8).mean((1, 3)) / (~missing).mean()
        np.testing.assert_allclose(drawn["loss_weights"], weights, rtol=1e-5)
        assert torch.equal(drawn["noise"], coarse["noise"]) and drawn["fingerprint"] != coarse["fingerprint"]
        holes.append(hole.tobytes())
    assert len(set(holes)) == len(holes)


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ([], ["pre"]),
        (["--data.direction=past"], ["post"]),
        (["--data.direction=both"], ["post", "pre"]),
        (["--model.condition=latents"], []),
        (["--model.condition=latents", "--run.cache_in=off"], ["post", "pre"]),
        (["--model.condition=coarse8", "--data.direction=past"], ["pre"]),
        (["--model.condition=hole"], ["cover_mask", "nodata_fraction", "post"]),
        (["--objective.damage_weights={destroyed: 2.0}"], ["damage_mask", "nodata_fraction", "post", "pre"]),
    ],
)
def test_no_image_is_decoded_that_is_not_shown(
    arguments: Arguments, tiny_dataset: Path, micro_base: Path, settings: list[str], columns: list[str]
) -> None:
    config = parse_config(arguments("run", *settings))
    base, dataset = load_base(micro_base), open_dataset(tiny_dataset, "train")
    accelerator, schedule = Accelerator(cpu=True), base.load_noise_schedule()
    prepared = prepare_examples(accelerator, config, stages_of(config)[0], base, schedule, dataset)
    assert prepared.images.column_names == columns
    assert prepared[0]["noise"].shape == (4, 4, 4)
