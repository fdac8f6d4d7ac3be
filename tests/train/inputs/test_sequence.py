"""Sequences of pre-event images: what is shown and told, drawn by law 1; a 3D ControlNet trained on them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from data.build import build
from data.dataset.open import open_dataset
from data.examples.sampler import example_rng, view_of
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import generate_images, load_generator
from generate.run import generate
from generate.sampling import Sampling
from models import load_base
from models.checkpoint import step_folder
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.unet import SatUNet
from tests.data.tiny_release import SCENE_IDS, SIDE_PX, write_release
from tests.train.conftest import Arguments, as_trained, fingerprints, losses, run
from tests.worlds import write_micro_base
from train.config import ModelConfig
from train.config_file import parse_config
from train.errors import ConfigError
from train.inputs.examples import Examples, prepare_examples
from train.networks import build_denoiser
from train.stages import stages_of

SHORT = ["--train.steps=4", "--train.warmup_steps=0", "--run.save_every=2"]
FAST = "--train.learning_rate=0.02"  # what four steps learn is seen in images
THREE = ["--model.controlnet=3d", "--data.sequence=3"]


@pytest.fixture(scope="session")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, the three scenes of its training with three earlier images each."""
    folder = tmp_path_factory.mktemp("sequences")
    release, rng = write_release(folder / "release"), np.random.default_rng(7)
    for split, scene_id in (("train", SCENE_IDS[0]), ("train", SCENE_IDS[1]), ("tier3", SCENE_IDS[4])):
        history = release / split / "history"
        history.mkdir(exist_ok=True)
        entries = []
        for year in (2015, 2014, 2016):
            name = f"{scene_id}_{year}.png"
            Image.fromarray(rng.integers(1, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)).save(history / name)
            entries.append({"image": name, "date": f"{year}-05-06", "cloud_cover": 0.5})
        (history / f"{scene_id}_history.json").write_text(json.dumps(entries))
    build(source=release, out=folder / "d32", size=32, workers=1)
    return folder / "d32"


@pytest.fixture(scope="session")
def sat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with random weights whose UNet is told metadata, wide enough for temporal attention."""
    folder = write_micro_base(tmp_path_factory.mktemp("bases") / "wide")
    plain = {name: value for name, value in load_base(folder).config("unet").items() if not name.startswith("_")}
    torch.manual_seed(1)
    SatUNet.from_config(plain | {"block_out_channels": (32, 32)}).save_pretrained(folder / "unet")
    return folder


def examples_of(argv: list[str]) -> Examples:
    config = parse_config(argv)
    base, dataset = load_base(config.model.base), open_dataset(config.data.dataset, "train")
    return prepare_examples(
        Accelerator(cpu=True), config, stages_of(config)[0], base, base.load_noise_schedule(), dataset
    )


def test_pre_and_the_newest_of_its_history_are_shown_and_told(
    arguments: Arguments, sequences: Path, sat_base: Path
) -> None:
    """Pixels of the files; metadata by hand; a mirrored view mirrors all of them."""
    argv = arguments("run", f"--model.base={sat_base}", f"--data.dataset={sequences}", *THREE)
    examples = examples_of([*argv, "--data.metadata_dropout=0", "--data.metadata_dropout_all=0"])
    dataset, mirrored = open_dataset(sequences, "train"), set()
    for ordinal in range(len(examples.views)):
        view, drawn = examples.views[view_of(0, ordinal, len(examples.views))], examples[ordinal]
        row = dataset[view.patch]
        files = [row["pre"], row["history"][2], row["history"][1]]  # of 2017, 2016, 2015; there is 2014 too
        expected = np.concatenate([np.asarray(image)[:, :: -1 if view.mirrored else 1] for image in files], -1)
        np.testing.assert_array_equal(drawn["condition"].permute(1, 2, 0), expected)
        assert drawn["metadata"].shape == (7,) and drawn["cond_metadata"].shape == (7, 3)
        lon, lat, gsd = row["metadata_pre"][:3]
        place = [(lon + 180) / 0.36, (lat + 90) / 0.18, gsd * 1000]
        pre_day = (2017, 10, 5) if row["labels"] == "both" else [np.nan] * 3
        for number, (year, month, day) in enumerate([pre_day, (2016, 5, 6), (2015, 5, 6)]):
            told = [*place, 500 if number else np.nan, (year - 1980) / 0.12, month / 0.012, day / 0.031]
            np.testing.assert_allclose(drawn["cond_metadata"][:, number], told, rtol=1e-5)
        mirrored.add(view.mirrored)
    assert mirrored == {False, True}


def test_metadata_of_each_image_are_dropped_by_themselves_after_all_other_draws(
    arguments: Arguments, sequences: Path, sat_base: Path
) -> None:
    argv = arguments("run", f"--model.base={sat_base}", f"--data.dataset={sequences}", *THREE)
    dataset = open_dataset(sequences, "train")
    told, plain = examples_of([*argv, "--data.metadata_dropout=0.5"]), examples_of([*argv, "--model.metadata=none"])
    for ordinal in range(6):
        one, other = told[ordinal], plain[ordinal]
        assert all(torch.equal(one[name], other[name]) for name in other if name != "fingerprint")
        rng = example_rng(0, ordinal)
        rng.random(), rng.random(), rng.integers(1000)
        for _ in range(2):
            rng.standard_normal((4, 4, 4), dtype=np.float32)
        dropped = (rng.random((4, 7)) < 0.5) | (rng.random((4, 1)) < 0.1)
        found = torch.cat([one["metadata"][None], one["cond_metadata"].T]).isnan().numpy()
        row = dataset[plain.views[view_of(0, ordinal, len(plain.views))].patch]
        dropped[:2] |= np.isnan([row["metadata_post"], row["metadata_pre"]])  # what was never known
        np.testing.assert_array_equal(found, dropped)
        assert one["fingerprint"] != other["fingerprint"]


def test_one_image_is_drawn_as_it_always_was(
    tmp_path: Path, arguments: Arguments, sequences: Path, sat_base: Path
) -> None:
    base = [f"--model.base={sat_base}", f"--data.dataset={sequences}", "--train.steps=2"]
    run(arguments("flat", *base))
    run(arguments("3d", *base, "--model.controlnet=3d"))
    assert fingerprints(tmp_path / "flat") == fingerprints(tmp_path / "3d")


def test_micro_batches_and_workers_change_nothing(
    tmp_path: Path, arguments: Arguments, sequences: Path, sat_base: Path
) -> None:
    base = [f"--model.base={sat_base}", f"--data.dataset={sequences}", *THREE, *SHORT]
    run(arguments("whole", *base, "--train.micro_batch=4"))
    run(arguments("parts", *base, "--train.micro_batch=1", "--run.workers=2", "--run.cache_in=off"))
    assert fingerprints(tmp_path / "parts") == fingerprints(tmp_path / "whole")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("controlnet", ["3d", "3d+attention"])
@pytest.mark.parametrize("metadata", ["base", "none"])
def test_step_zero_is_the_base_and_then_every_image_counts(
    images: int, controlnet: Any, metadata: Any, sat_base: Path
) -> None:
    model, base = ModelConfig(controlnet=controlnet, metadata=metadata), load_base(sat_base)
    denoiser = build_denoiser(base, model, "fp32", 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "noisy": torch.randn(2, 4, 4, 4, generator=generator),
        "timesteps": torch.tensor([3, 900]),
        "states": torch.randn(2, 77, 64, generator=generator),
        "condition": torch.rand(2, 3 * images, 32, 32, generator=generator),
    }
    told = {"metadata": 1000 * torch.rand(2, 7, generator=generator)}
    told["cond_metadata"] = 1000 * torch.rand(2, 7, images, generator=generator)
    told = told if metadata == "base" else {}
    of_target = {name: value for name, value in told.items() if name == "metadata"}
    with torch.no_grad():
        plain = as_trained(base.load_unet())(inputs["noisy"], inputs["timesteps"], inputs["states"], **of_target).sample
        assert torch.equal(denoiser(**inputs, **told), plain)
        for weight in denoiser.trained().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        made = denoiser(**inputs, **told)
        for image in range(images):
            other = inputs["condition"].clone()
            other[:, 3 * image : 3 * image + 3] = 0
            assert not torch.allclose(denoiser(**inputs | {"condition": other}, **told), made, atol=1e-4)
            if told:
                unknown = told["cond_metadata"].clone()
                unknown[:, :, image] = torch.nan
                assert not torch.allclose(denoiser(**inputs, **told | {"cond_metadata": unknown}), made, atol=1e-4)
        # Channels innermost, but for the five axes of 3D convolutions: the same numbers up to rounding.
        inner = build_denoiser(base, replace(model, channels_last=True), "fp32", 0, torch.device("cpu"))
        inner.load_state_dict(denoiser.state_dict())
        assert torch.allclose(inner(**inputs, **told), made, atol=1e-4)
    assert any("temporal" in name for name in denoiser.trained()) == (controlnet == "3d+attention")


@pytest.mark.parametrize(("controlnet", "images"), [("3d", 1), ("3d", 3), ("3d+attention", 3)])
def test_trains_resumes_validates_generates_and_is_evaluated(
    controlnet: str, images: int, tmp_path: Path, arguments: Arguments, sequences: Path, sat_base: Path
) -> None:
    """Bit for bit after an interruption; a folder that loads by itself; images that follow every image shown."""
    options = [f"--model.base={sat_base}", f"--data.dataset={sequences}", *SHORT, FAST, "--train.ema_decay=0.5"]
    options += [f"--model.controlnet={controlnet}", f"--data.sequence={images}", "--validation.every=2"]
    options += ["--validation.split=train", "--validation.examples=2", "--validation.images=1"]
    options += ["--validation.timesteps=1", "--validation.sampling_steps=2"]
    run(arguments("run", *options))
    out, last = tmp_path / "run", step_folder(tmp_path / "run/checkpoints", 4)
    weights = {path.relative_to(last): load_file(path) for path in last.rglob("*.safetensors")}
    straight = validated_losses(out)
    (last / "MANIFEST.json").unlink()
    run(arguments("run", *options))
    for path, tensors in weights.items():
        again = load_file(last / path)
        assert all(torch.equal(again[name], tensors[name]) for name in tensors), path
    assert validated_losses(out) == straight

    controlnet_3d = SatControlNet3D.from_pretrained(last / "controlnet")
    assert controlnet_3d.config.use_temporal_transformer == (controlnet == "3d+attention")
    once = Sampling(steps=1)
    generate(checkpoint=out, pre=sequences, split="train", out=tmp_path / "made", sampling=once, limit=2)
    made = sorted((tmp_path / "made").glob("*.png"))
    assert len(made) == 2
    scores = tmp_path / "scores"
    evaluate(checkpoint=out, dataset=sequences, split="train", out=scores, networks="none", sampling=once, limit=2)
    for path in made:
        assert (scores / image_file(path.stem, "generated")).read_bytes() == path.read_bytes()
    follows_every_image(out, open_dataset(sequences, "train")[0], images)


def validated_losses(out: Path) -> list[tuple[float | None, float | None]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line.get("loss"), line.get("validation_loss")) for line in lines]


def follows_every_image(out: Path, row: dict[str, Any], images: int) -> None:
    checkpoint = open_checkpoint(out)
    sampling = Sampling(steps=2, guidance_scale=3.0)
    networks = load_generator(checkpoint, open_base(checkpoint), sampling)
    shown = np.concatenate([np.asarray(image) for image in [row["pre"], *row["history"][::-1]][:images]], -1)
    conditions = [row["metadata_pre"], *row["metadata_history"][::-1]][:images]
    told = (row["metadata_post"], conditions[0] if images == 1 else conditions)

    def made(pixels: Any) -> Any:
        return generate_images(networks, [pixels], ["x"], [5], sampling, metadata=[told]).astype(int)

    plain = made(shown)
    for image in range(images):
        other = shown.copy()
        other[..., 3 * image : 3 * image + 3] = 128
        assert np.abs(made(other) - plain).max() > 0, image


def test_too_short_a_history_is_named(
    tmp_path: Path, arguments: Arguments, sequences: Path, sat_base: Path, tiny_dataset: Path
) -> None:
    options = [f"--model.base={sat_base}", f"--data.dataset={sequences}", *SHORT, "--model.controlnet=3d"]
    first = open_dataset(sequences, "train")[0]["patch_id"]
    with pytest.raises(ConfigError, match=f"data.sequence is 5, but 12 patches of {sequences} have .* first {first}"):
        run(arguments("run", *options, "--data.sequence=5"))
    with pytest.raises(ConfigError, match=r"data\.sequence is 2, but 12 patches"):
        run(arguments("run", *options, "--data.sequence=2", f"--data.dataset={tiny_dataset}"))
    run(arguments("run", *options, "--data.sequence=2"))
    out = tmp_path / "made"
    with pytest.raises(GenerateError, match="takes 2 pre-event images, but 12 patches of split train"):
        generate(checkpoint=tmp_path / "run", pre=tiny_dataset, split="train", out=out)
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    with pytest.raises(GenerateError, match=r"one.png: the checkpoint was trained on 2 pre-event images"):
        generate(checkpoint=tmp_path / "run", pre=tmp_path / "one.png", prompt="x", out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--data.sequence=3"], "data.sequence is 3, which needs model.controlnet 3d"),
        (["--data.sequence=0"], "data.sequence is 0; it includes the pre image"),
        ([*THREE, "--data.direction=both"], "data.sequence is 3 and data.direction both"),
        ([*THREE, "--model.condition=latents"], "model.controlnet is 3d, but model.condition is latents"),
        ([*THREE, "--model.trained=lora"], "model.controlnet is 3d, but model.trained is lora"),
    ],
)
def test_what_cannot_be_is_said_at_once(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(["--data.dataset=d", "--run.out=r", *settings])


def test_attention_needs_a_wide_base(micro_base: Path) -> None:
    model = ModelConfig(controlnet="3d+attention")
    with pytest.raises(ConfigError, match=r"32 groups of channels; .* starts with 16"):
        build_denoiser(load_base(micro_base), model, "fp32", 0, torch.device("cpu"))
