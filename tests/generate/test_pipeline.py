"""Generation is diffusers' own: same folders, same seed, same image."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image

from generate.errors import GenerateError
from generate.pipeline import Pixels, generate_images, load_generator, open_checkpoint
from models.checkpoint import CheckpointError
from tests.generate.worlds import RESOLUTION, write_micro_checkpoint
from tests.worlds import write_micro_base

STEPS = 4


def noise_image(seed: int) -> Pixels:
    """A random pre image."""
    return np.random.default_rng(seed).integers(0, 256, (RESOLUTION, RESOLUTION, 3), np.uint8)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_equals_stock_diffusers_from_disk(run_folder: Path, micro_base: Path, guidance_scale: float) -> None:
    """The oracle: a pipeline assembled by diffusers alone from the two folders."""
    pre = noise_image(0)
    ours = generate_images(
        load_generator(open_checkpoint(run_folder)),
        [pre], ["after a flood"], [7],
        steps=STEPS, guidance_scale=guidance_scale,
    )[0]  # fmt: skip
    stock = StableDiffusionControlNetPipeline.from_pretrained(
        micro_base,
        controlnet=ControlNetModel.from_pretrained(run_folder / "checkpoints/step-00000010/controlnet"),
        safety_checker=None,
    )
    theirs = stock(
        "after a flood", Image.fromarray(pre), num_inference_steps=STEPS, guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(ours, np.asarray(theirs))


def test_without_control_equals_the_base(run_folder: Path, micro_base: Path) -> None:
    """At control_scale 0 the pre image does not matter and the plain pipeline gives the same image."""
    pipeline = load_generator(open_checkpoint(run_folder))
    arguments: dict[str, Any] = {"prompts": ["after a flood"], "seeds": [3], "steps": STEPS, "guidance_scale": 1.0}
    alone = generate_images(pipeline, [noise_image(0)], **arguments, control_scale=0.0)
    other_pre = generate_images(pipeline, [noise_image(1)], **arguments, control_scale=0.0)
    controlled = generate_images(pipeline, [noise_image(0)], **arguments)
    stock = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    theirs = stock(
        "after a flood", num_inference_steps=STEPS, guidance_scale=1.0, generator=torch.Generator().manual_seed(3)
    ).images[0]
    assert np.array_equal(alone[0], np.asarray(theirs))
    assert np.array_equal(alone, other_pre)
    assert not np.array_equal(alone, controlled)


def test_batch_size_does_not_matter(run_folder: Path) -> None:
    """One image at a time or three at once; float sums may differ in the last bit, hence one level."""
    pipeline = load_generator(open_checkpoint(run_folder))
    pre, prompts, seeds = [noise_image(i) for i in range(3)], ["a", "b", "c"], [5, 6, 7]
    together = generate_images(pipeline, pre, prompts, seeds, steps=STEPS, guidance_scale=1.0)
    single = [
        generate_images(pipeline, [pre[i]], [prompts[i]], [seeds[i]], steps=STEPS, guidance_scale=1.0)[0]
        for i in range(3)
    ]
    assert np.abs(together.astype(int) - np.stack(single).astype(int)).max() <= 1


def test_averaged_weights_are_preferred(tmp_path: Path, micro_base: Path) -> None:
    """A checkpoint with ema/ generates from it."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, averaged=True)
    assert open_checkpoint(run).weights.name == "ema"


def test_steps_are_checked(run_folder: Path) -> None:
    """Zero and more steps than the schedule has are named."""
    pipeline = load_generator(open_checkpoint(run_folder))
    for steps in (0, 1000):
        with pytest.raises(GenerateError, match=f"steps is {steps}; expected 1 to 999"):
            generate_images(pipeline, [noise_image(0)], ["x"], [0], steps=steps, guidance_scale=1.0)


def test_weights_that_diverged(tmp_path: Path, run_folder: Path) -> None:
    """NaN weights give an error, not a black image."""
    pipeline = load_generator(open_checkpoint(run_folder))
    pipeline.controlnet.controlnet_mid_block.bias[0] = torch.nan
    with pytest.raises(GenerateError, match="diverged"):
        generate_images(pipeline, [noise_image(0)], ["x"], [0], steps=1, guidance_scale=1.0)


def test_other_base_is_refused(tmp_path: Path, run_folder: Path) -> None:
    """Both bases and the mend are named; a copy of the right base elsewhere is fine."""
    trained = open_checkpoint(run_folder)
    other = write_micro_base(tmp_path / "other", seed=9)
    with pytest.raises(CheckpointError, match=rf"trained on base {trained.base} .* but {other} is another.*--base"):
        load_generator(trained, str(other))
    copy = shutil.copytree(trained.base, tmp_path / "copy")
    load_generator(trained, str(copy))


def test_base_has_moved(tmp_path: Path) -> None:
    """A base that is no longer where the training found it: the mend is named, and works."""
    base = write_micro_base(tmp_path / "base")
    trained = open_checkpoint(write_micro_checkpoint(tmp_path / "run", base))
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"its base is not where the training found it.*--base"):
        load_generator(trained)
    load_generator(trained, str(moved))


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
    content = (folder / "state.json").read_bytes()
    manifest["state.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"state.json: field 'resolution' is missing"):
        open_checkpoint(folder)
