"""Generation is diffusers' own: same folders, same seed, same image."""

import hashlib
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

from data.storage import sha256
from generate.errors import GenerateError
from generate.pipeline import Pixels, generate_images, load_generator, open_base, open_checkpoint
from generate.sampling import Sampling
from models import BaseError
from models.checkpoint import CheckpointError, read_state, step_folder, write_checkpoint
from tests.generate.worlds import RESOLUTION, write_kind, write_micro_checkpoint
from tests.worlds import unmapped, write_micro_base

STEPS = 4
DOCS = Path(__file__).parents[2] / "docs/training.md"


def generator(run: Path, scheduler: str = "ddim") -> StableDiffusionControlNetPipeline:
    """The pipeline of a run's checkpoint."""
    trained = open_checkpoint(run)
    return load_generator(trained, open_base(trained), scheduler)


def noise_image(seed: int) -> Pixels:
    """A random pre image."""
    return np.random.default_rng(seed).integers(0, 256, (RESOLUTION, RESOLUTION, 3), np.uint8)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_equals_stock_diffusers_from_disk(run_folder: Path, micro_base: Path, guidance_scale: float) -> None:
    """The oracle: a pipeline assembled by diffusers alone from the two folders."""
    pre = noise_image(0)
    ours = generate_images(
        generator(run_folder),
        [pre], ["after a flood"], [7],
        Sampling(steps=STEPS, guidance_scale=guidance_scale),
    )[0]  # fmt: skip
    stock = unmapped(
        StableDiffusionControlNetPipeline.from_pretrained(
            micro_base,
            controlnet=ControlNetModel.from_pretrained(run_folder / "checkpoints/step-00000010/controlnet"),
            safety_checker=None,
        )
    )
    theirs = stock(
        "after a flood", Image.fromarray(pre), num_inference_steps=STEPS, guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(ours, np.asarray(theirs))


def test_a_rescaled_schedule_in_stock_diffusers_is_the_recipe_of_the_docs(tmp_path: Path, micro_base: Path) -> None:
    """docs/training.md says what the stock pipeline needs after `objective.zero_terminal_snr`; these lines are run."""
    base = shutil.copytree(micro_base, tmp_path / "base")
    path = base / "scheduler/scheduler_config.json"
    plain = {"rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    path.write_text(json.dumps(json.loads(path.read_text()) | plain))
    trained = replace(open_checkpoint(write_micro_checkpoint(tmp_path / "run", base)), zero_terminal_snr=True)
    pre = noise_image(0)
    ours = generate_images(load_generator(trained, open_base(trained)), [pre], [""], [7], Sampling(steps=STEPS))[0]
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
    pipeline = generator(run_folder)
    arguments: dict[str, Any] = {"prompts": ["after a flood"], "seeds": [3]}
    without = Sampling(steps=STEPS, control_scale=0.0)
    alone = generate_images(pipeline, [noise_image(0)], **arguments, sampling=without)
    other_pre = generate_images(pipeline, [noise_image(1)], **arguments, sampling=without)
    controlled = generate_images(pipeline, [noise_image(0)], **arguments, sampling=Sampling(steps=STEPS))
    stock = unmapped(StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None))
    theirs = stock(
        "after a flood", num_inference_steps=STEPS, guidance_scale=1.0, generator=torch.Generator().manual_seed(3)
    ).images[0]
    assert np.array_equal(alone[0], np.asarray(theirs))
    assert np.array_equal(alone, other_pre)
    assert not np.array_equal(alone, controlled)


def test_a_lora_is_in_memory_of_its_own(tmp_path: Path, micro_base: Path) -> None:
    """Not in its file's memory map, whose alignment would decide about the last bits."""
    unet = generator(write_kind(tmp_path / "run", micro_base, "lora")).unet
    addresses = {name: weight.data_ptr() for name, weight in unet.named_parameters()}
    assert any("lora_" in name for name in addresses)
    assert not [name for name, address in addresses.items() if address % 64]


def test_batch_size_does_not_matter(run_folder: Path) -> None:
    """One image at a time or three at once; float sums may differ in the last bit, hence one level."""
    pipeline = generator(run_folder)
    pre, prompts, seeds = [noise_image(i) for i in range(3)], ["a", "b", "c"], [5, 6, 7]
    together = generate_images(pipeline, pre, prompts, seeds, Sampling(steps=STEPS))
    single = [generate_images(pipeline, [pre[i]], [prompts[i]], [seeds[i]], Sampling(steps=STEPS))[0] for i in range(3)]
    assert np.abs(together.astype(int) - np.stack(single).astype(int)).max() <= 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers' UniPC
def test_every_solver_finds_the_same_image(run_folder: Path) -> None:
    """All three solve the same differential equation from the same noise: with enough steps they agree."""
    arguments: dict[str, Any] = {"pre": [noise_image(0)] * 2, "prompts": ["after a flood"] * 2, "seeds": [3, 4]}
    exact, other = generate_images(generator(run_folder), **arguments, sampling=Sampling(steps=40)).astype(float)
    for name in ("unipc", "dpm++"):
        close = generate_images(generator(run_folder, name), **arguments, sampling=Sampling(steps=15))[0]
        assert np.abs(close - exact).mean() < 0.25 * np.abs(other - exact).mean()


def test_control_start_and_end_are_those_of_diffusers(run_folder: Path, micro_base: Path) -> None:
    """The ControlNet works in the second and third of four steps only, as in the stock pipeline."""
    pre = noise_image(0)
    sampling = Sampling(steps=4, control_start=0.25, control_end=0.75)
    ours = generate_images(generator(run_folder), [pre], ["after a flood"], [7], sampling)[0]
    theirs = generator(run_folder)(
        "after a flood", Image.fromarray(pre), num_inference_steps=4, guidance_scale=1.0,
        control_guidance_start=0.25, control_guidance_end=0.75, generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    throughout = generate_images(generator(run_folder), [pre], ["after a flood"], [7], Sampling(steps=4))[0]
    assert np.array_equal(ours, np.asarray(theirs))
    assert not np.array_equal(ours, throughout)


def test_bf16_starts_from_the_same_noise(run_folder: Path) -> None:
    """The image is that of fp32 but for the rounding of the networks; another seed gives another one."""
    pipeline = generator(run_folder)
    fp32, bf16 = Sampling(steps=STEPS), Sampling(steps=STEPS, precision="bf16")
    exact, rough, other = (
        generate_images(pipeline, [noise_image(0)], ["a"], [seed], sampling)
        for sampling, seed in ((fp32, 3), (bf16, 3), (fp32, 4))
    )
    error, distance = (np.abs(images.astype(float) - exact).mean() for images in (rough, other))
    assert 0 < error < 0.2 * distance


def test_averaged_weights_are_preferred(tmp_path: Path, micro_base: Path) -> None:
    """A checkpoint with ema/ generates from it."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, averaged=True)
    assert open_checkpoint(run).weights.name == "ema"


def test_steps_are_checked(run_folder: Path) -> None:
    """More steps than the schedule has are named."""
    with pytest.raises(GenerateError, match="steps is 1000; expected 1 to 999"):
        generate_images(generator(run_folder), [noise_image(0)], ["x"], [0], Sampling(steps=1000))


def test_weights_that_diverged(tmp_path: Path, run_folder: Path) -> None:
    """NaN weights give an error, not a black image."""
    pipeline = generator(run_folder)
    pipeline.controlnet.controlnet_mid_block.bias[0] = torch.nan
    with pytest.raises(GenerateError, match="diverged"):
        generate_images(pipeline, [noise_image(0)], ["x"], [0], Sampling(steps=1))


def test_other_base_is_refused(tmp_path: Path, run_folder: Path) -> None:
    """Both bases and the mend are named; a copy of the right base elsewhere is fine."""
    trained = open_checkpoint(run_folder)
    other = write_micro_base(tmp_path / "other", seed=9)
    with pytest.raises(CheckpointError, match=rf"trained on base {trained.base} .* but {other} is another.*--base"):
        open_base(trained, str(other))
    copy = shutil.copytree(trained.base, tmp_path / "copy")
    assert open_base(trained, str(copy)).folder == copy


def test_base_has_moved(tmp_path: Path) -> None:
    """A base that is no longer where the training found it: the mend is named, and works."""
    base = write_micro_base(tmp_path / "base")
    trained = open_checkpoint(write_micro_checkpoint(tmp_path / "run", base))
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"its base is not where the training found it.*--base"):
        open_base(trained)
    assert open_base(trained, str(moved)).folder == moved


def test_a_checkpoint_does_not_decide_what_is_downloaded(
    tmp_path: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub id in it is looked for in the cache alone; only what its user names with --base is asked for."""
    trained = replace(open_checkpoint(write_micro_checkpoint(tmp_path / "run", micro_base)), base="stranger/any-model")
    asked: list[str] = []

    def hub(name: str) -> list[str]:
        asked.append(name)
        return []

    monkeypatch.setattr("models.hub.list_repo_files", hub)
    with pytest.raises(CheckpointError, match=r"in the cache of the Hugging Face hub.*--base.*stranger/any-model"):
        open_base(trained)
    assert not asked
    with pytest.raises(BaseError):
        open_base(trained, "stranger/any-model")
    assert asked == ["stranger/any-model"]


def test_a_checkpoint_of_before_knows_its_base(tmp_path: Path, micro_base: Path) -> None:
    """Its hash was that of the hashes of config and weight files."""
    files = [micro_base / "unet/config.json", micro_base / "unet/diffusion_pytorch_model.safetensors"]
    noted = hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()
    trained = open_checkpoint(write_micro_checkpoint(tmp_path / "run", micro_base))
    assert noted != trained.unet_sha256
    assert open_base(replace(trained, unet_sha256=noted)).folder == micro_base


def test_damaged_checkpoint(tmp_path: Path, run_folder: Path) -> None:
    """A changed weight file is named."""
    folder = shutil.copytree(run_folder / "checkpoints/step-00000010", tmp_path / "step-00000010")
    (folder / "controlnet/diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"damaged, controlnet/diffusion_pytorch_model.safetensors differs"):
        open_checkpoint(folder)


def test_state_without_a_field(tmp_path: Path, micro_base: Path) -> None:
    """A state.json that lacks what generation needs is named with the field."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base)
    folder = run / "checkpoints/step-00000010"
    state = json.loads((folder / "state.json").read_text())
    del state["resolution"]
    (folder / "state.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    path = folder / "state.json"
    manifest["state.json"] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"state.json: resolution is missing"):
        open_checkpoint(folder)


def test_averaged_weights_that_are_gone_are_named(tmp_path: Path, micro_base: Path) -> None:
    """The live weights beside them would make other images without a word."""
    folder = step_folder(write_micro_checkpoint(tmp_path / "run", micro_base).joinpath("checkpoints"), 10)
    state = read_state(folder) | {"config": {"train": {"ema_decay": 0.9}}}
    kept = shutil.copytree(folder / "controlnet", tmp_path / "controlnet")

    def write_files(new: Path) -> None:
        shutil.copytree(kept, new / "controlnet")

    write_checkpoint(folder, state, write_files)
    with pytest.raises(CheckpointError, match="lacks ema"):
        open_checkpoint(folder)
