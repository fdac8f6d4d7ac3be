"""What a dataset takes from build to scores on 1, 8 and 64 GPUs: the table of docs/scaling.md. A prediction.

    python -m benchmarks.speed.forecast --configs real/base_configs/stable-diffusion-2-1

Operations are counted by PyTorch on tensors without values; rates are those of docs/recipes.md, communication that of
docs/scaling.md; scenes a second of a build are measured (docs/dataset.md).
"""

from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floor import step_flops
from benchmarks.speed.cards import CARDS, LARGE_COPIES, LARGE_PRODUCTS, expected
from benchmarks.speed.scaling import INSIDE_GB, TRAINED
from models.base import Base
from models.controlnet import controlnet_from_unet
from models.cpu.precision import DTYPES
from train.config_file import parse_config
from train.estimate import REACHED, Speed

SIDE = 512  # px
SCENES, PATCHES, TESTED = 11_034, 44_136, 3_732  # of xBD: pairs, patches of SIDE, those of the split test
BUILT = 1.3  # scenes a second and core, measured
CORES = 8  # per GPU, an assumption
STEPS = (100, 20)  # of denoising: as the published models are evaluated, and for region tiles
TILES = 1_000_000
GPUS = {1: (1, 1.0), 8: (1, 1.0), 64: (8, 200.0)}  # machines, GB/s between them


def forecast(*, configs: Path, card: str = "A100, 80 GB", name: str = "xbd_sd21_512") -> None:
    """Print the table.

    Args:
        configs: config files of Stable Diffusion 2.1 in diffusers' layout.
        card: of benchmarks/speed/cards.py.
        name: of a file in configs/.
    """
    base, (rate, bandwidth) = Base(str(configs), configs), CARDS[card]
    config = parse_config([f"--config=configs/{name}.yaml"], check=lambda config: None)
    speed = Speed(REACHED["cuda"] * LARGE_PRODUCTS * rate * 1e12, LARGE_COPIES * bandwidth * 1e12)
    dtype = DTYPES[config.train.precision]
    step = expected(base, config, dtype, dtype, speed, on_gpu=True)[1]
    denoised, decoded = image_flops(base)
    encoded = step_flops(base, resolution=SIDE, batch=1)["encoders"]
    print(f"{encoded / 1e12:.2f} TFLOP to encode an image and its caption, {denoised / 1e12:.2f} for a step of")
    print(f"denoising, {decoded / 1e12:.2f} to decode; {speed.flops / 1e12:.0f} TFLOP/s; a training step {step:.2f} s")
    image = {steps: (steps * denoised + decoded) / speed.flops for steps in STEPS}
    print("| what | work | " + " | ".join(f"{n} GPU(s)" for n in GPUS) + " |\n|---|---|" + "---:|" * len(GPUS))
    jobs = {
        "build": (f"{SCENES:,} scenes, {CORES} cores per GPU", SCENES / BUILT / CORES),
        "fill the cache": (f"{2 * PATCHES:,} views", 2 * PATCHES * encoded / speed.flops),
        "train": (f"{config.train.steps:,} steps of {config.train.global_batch}", config.train.steps * step),
        "generate": (f"{TESTED:,} images of {STEPS[0]} steps", TESTED * image[STEPS[0]]),
        "region": (f"{TILES:,} tiles of {STEPS[1]} steps", TILES * image[STEPS[1]]),
    }
    for job, (work, seconds) in jobs.items():
        hours = []
        for number, (machines, between) in GPUS.items():
            reduce = all_reduce(number, machines, between) * config.train.steps if job == "train" else 0.0
            hours.append((seconds / number + reduce) / 3600)
        print(f"| {job} | {work} | " + " | ".join(map(readable, hours)) + " |")


def readable(hours: float) -> str:
    """In hours or minutes."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def all_reduce(number: int, machines: int, between_gb: float) -> float:
    """Seconds that a step spends on its gradients, as in benchmarks/speed/scaling.py."""
    gigabytes, inside = 4 * TRAINED / 1e9, number // machines
    within = 2 * (inside - 1) / inside * gigabytes / INSIDE_GB
    return within + 2 * (machines - 1) / machines * gigabytes / between_gb


def image_flops(base: Base) -> tuple[float, float]:
    """Of a denoising step with the ControlNet, without guidance, and of the decoder; one image of SIDE px."""
    side = SIDE // base.vae_scale_factor
    with torch.device("meta"), torch.no_grad():
        unet, vae = base.empty_unet(), base.build("vae")
        controlnet = controlnet_from_unet(unet, vae_scale_factor=base.vae_scale_factor, seed=0)
        noisy, times = torch.empty(1, unet.config.in_channels, side, side), torch.empty(1, dtype=torch.int64)
        states, pixels = torch.empty(1, 77, unet.config.cross_attention_dim), torch.empty(1, 3, SIDE, SIDE)
        with FlopCounterMode(display=False) as denoised:
            down, mid = controlnet(noisy, times, states, controlnet_cond=pixels, return_dict=False)
            unet(noisy, times, states, down_block_additional_residuals=down, mid_block_additional_residual=mid)
        with FlopCounterMode(display=False) as decoded:
            vae.decode(noisy)
    return float(denoised.get_total_flops()), float(decoded.get_total_flops())


if __name__ == "__main__":
    auto_cli(forecast, as_positional=False)
