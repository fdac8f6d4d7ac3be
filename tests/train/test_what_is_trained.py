"""Every way of training: the base stays as it was, the run resumes exactly, and images can be made from it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from data.dataset.open import open_dataset
from generate.checkpoint import Checkpoint, open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import Generator, generate_images, load_generator
from generate.images.items import shown_patch
from generate.run import generate
from generate.sampling import Sampling
from models import load_base
from models.checkpoint import step_folder
from tests.generate.stock import stock_images
from tests.train.conftest import Arguments, run
from train.objective import denoising_loss

KINDS = {
    "controlnet": [],
    "controlnet-lora": ["--model.trained=controlnet-lora"],
    "t2i-adapter": ["--model.trained=t2i-adapter"],
    "lora": ["--model.trained=lora"],
    "controlnet+lora": ["--model.trained=controlnet+lora", "--model.condition=latents"],
    "lora+concat": ["--model.trained=lora+concat"],
    "mask": ["--model.condition=pixels+mask"],
    "latents and mask": ["--model.condition=latents+mask"],
}
ONE_STEP = Sampling(steps=1)
SHORT = [
    "--train.steps=8",
    "--train.ema_decay=0.5",
    "--model.lora_rank=2",
    "--train.warmup_steps=0",
    "--train.learning_rate=0.05",
]


def generator(checkpoint: Checkpoint) -> Generator:
    return load_generator(checkpoint, open_base(checkpoint), Sampling())


@pytest.fixture(params=KINDS)
def trained(
    request: pytest.FixtureRequest, tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run folder; on the way the frozen weights were compared with the files of the base."""
    seen: dict[str, Any] = {}

    def watching(denoiser: Any, *rest: Any, **options: Any) -> Any:
        seen["denoiser"] = denoiser
        return denoising_loss(denoiser, *rest, **options)

    argv = arguments(request.param, *KINDS[request.param], *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.denoising_loss", watching)
        run(argv)
    base = argv[1].partition("=")[2]
    frozen = {
        name.removeprefix("unet.").replace(".base_layer", "").replace("conv_in.base", "conv_in"): weight
        for name, weight in seen["denoiser"].named_parameters()
        if not weight.requires_grad
    }
    before = load_base(base).load_unet().state_dict()
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)
    return tmp_path / str(request.param)


def test_runs_resumes_and_generates(
    trained: Path, tmp_path: Path, arguments: Arguments, tiny_dataset: Path, micro_base: Path
) -> None:
    kind = trained.name
    last = step_folder(trained / "checkpoints", 8)
    check_resume(last, arguments, KINDS[kind])
    checkpoint = open_checkpoint(trained)
    rows = open_dataset(tiny_dataset, "train")
    labelled = [row for row in rows if row["damage_mask"] is not None][:2]
    shown = [shown_patch(row, checkpoint, checkpoint.resolution) for row in labelled]
    other = [255 - image for image in shown]
    asked: dict[str, Any] = {"prompts": ["a", "b"], "seeds": [1, 2]}
    as_trained, without, much = (Sampling(steps=3, guidance_scale=2.0, control_scale=scale) for scale in (1, 0, 3))
    networks = generator(checkpoint)
    made = generate_images(networks, shown, **asked, sampling=as_trained)
    alone = generate_images(networks, shown, **asked, sampling=without)
    assert np.array_equal(made, generate_images(networks, shown, **asked, sampling=as_trained))  # nothing stays scaled
    assert not np.array_equal(made, alone)
    strong = [generate_images(networks, images, **asked, sampling=much) for images in (shown, other)]
    assert np.array_equal(strong[0], strong[1]) == (kind == "lora")  # only a LoRA alone does not see the pre image
    stock = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    theirs = stock(
        ["a", "b"], num_inference_steps=3, guidance_scale=2.0, output_type="np",
        generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
    ).images  # fmt: skip
    assert np.abs(alone.astype(int) - (theirs * 255).round()).max() <= 1
    generate(checkpoint=trained, pre=tiny_dataset, split="train", out=tmp_path / "images", sampling=ONE_STEP, limit=1)
    if kind == "mask":
        square = tmp_path / "square.png"
        Image.new("RGB", (32, 32)).save(square)
        with pytest.raises(GenerateError, match=r"needs a mask.*--mask MASK.png"):
            generate(checkpoint=trained, pre=square, prompt="x", out=tmp_path / "one", sampling=ONE_STEP)


def check_resume(last: Path, arguments: Arguments, options: list[str]) -> None:
    """Stopped after two steps and resumed: the same files bit for bit."""
    out = last.parents[1].with_name("resumed")
    resumed = arguments("resumed", *options, *SHORT, "--run.save_every=1", "--run.keep_last=0")
    run(resumed)
    (step_folder(out / "checkpoints", 8) / "MANIFEST.json").unlink()
    run(resumed)
    names = sorted(str(path.relative_to(last)) for path in last.rglob("*.safetensors"))
    assert len(names) in (3, 5, 7)  # weights and average of one or two parts, of a LoRA twice; moments
    for name in names:
        one, other = load_file(last / name), load_file(step_folder(out / "checkpoints", 8) / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name


def test_concatenated_latents_in_stock_diffusers(tmp_path: Path, arguments: Arguments, micro_base: Path) -> None:
    """The oracle: InstructPix2Pix with a widened convolution and the LoRA folder."""
    run(arguments("run", *KINDS["lora+concat"], *SHORT, "--train.ema_decay=0"))
    checkpoint = open_checkpoint(tmp_path / "run")
    pre = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    ours = generate_images(generator(checkpoint), [pre], ["x"], [5], Sampling(steps=3))[0]
    theirs = stock_images(checkpoint, [pre], ["x"], [5], steps=3)[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_into_the_past_with_long_captions(tmp_path: Path, arguments: Arguments, tiny_dataset: Path) -> None:
    """The checkpoint is shown post images and tells of pre ones, with captions as long as those of the training."""
    options = ["--data.direction=past", "--data.caption_styles={chunks: 1}", "--data.text_chunks=4", *SHORT]
    run(arguments("run", *options, "--objective.damage_weights={destroyed: 4}"))
    checkpoint = open_checkpoint(tmp_path / "run")
    assert generator(checkpoint).text_chunks == 4
    row = open_dataset(tiny_dataset, "train")[0]
    assert np.array_equal(shown_patch(row, checkpoint, checkpoint.resolution), np.array(row["post"]))
    generate(
        checkpoint=tmp_path / "run", pre=tiny_dataset, split="train", out=tmp_path / "made", sampling=ONE_STEP, limit=1
    )
    manifest = (tmp_path / "made/manifest.jsonl").read_text()
    pre = next(entry["text"] for entry in row["captions"] if (entry["style"], entry["target"]) == ("chunks", "pre"))
    assert pre.split("\n")[0][:20] in manifest


def test_a_rescaled_schedule_is_sampled_as_it_was_trained(
    tmp_path: Path, arguments: Arguments, micro_base: Path
) -> None:
    base = shutil.copytree(micro_base, tmp_path / "base")
    plain = DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample=False)
    plain.save_pretrained(base / "scheduler")
    run(arguments("run", *SHORT, f"--model.base={base}", "--objective.zero_terminal_snr=true"))
    scheduler = generator(open_checkpoint(tmp_path / "run")).sampler
    # Lin et al. 2024, algorithm 1: shift and scale sqrt(alpha_bar) so that it ends in 0 and starts where it did.
    roots = plain.alphas_cumprod.double().sqrt()
    expected = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), expected, rtol=1e-4, atol=1e-6)
    assert scheduler.config.timestep_spacing == "trailing"
