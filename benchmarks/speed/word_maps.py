"""Time of generating with word maps, relative to generating without them: the same images, turn by turn.

python -m benchmarks.speed.word_maps --base tiny --size 128
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState
from jsonargparse import auto_cli

from data.examples.condition import condition_of
from generate.generator import generate_images, load_untrained
from generate.sampling import Sampling
from generate.words.maps import listening, maps_for
from models import controlnet_from_unet, load_base
from models.denoiser import Denoiser

PROMPT = "a satellite image after a flood: severe damage, 5 of 7 buildings destroyed, 2 with major damage"
WORDS = ["flood", "damage", "destroyed", "buildings"]


def word_maps(
    *, base: str = "tiny", size: int = 128, batch: int = 4, steps: int = 10, guidance: float = 1.0, repeats: int = 5
) -> None:
    """Print the best time of each and their ratio, of the wall clock and of all threads' processor time.

    Args:
        base: a diffusers folder, hub id, or `tiny`; its ControlNet is untrained.
        size: side of the images, px.
        batch: images at once.
        steps: denoising steps.
        guidance: scale; above 1 the networks are asked twice.
        repeats: of each; the best counts.
    """
    PartialState(cpu=not torch.accelerator.is_available())
    sampling, parts = Sampling(steps=steps, guidance_scale=guidance), load_base(base)
    networks = load_untrained(parts, sampling, text_chunks=1)
    unet = networks.denoiser.unet
    controlnet = controlnet_from_unet(unet, vae_scale_factor=parts.vae_scale_factor, seed=0).to(unet.device).eval()
    networks = replace(
        networks, denoiser=Denoiser(parts.family, unet, controlnet), condition=condition_of("controlnet", "pixels")
    )
    pre = list(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8))
    prompts = [PROMPT] * batch

    def make(words: list[str]) -> Callable[[], object]:
        def made() -> object:
            maps = maps_for(networks, prompts, [words] * batch, (size, size), guided=guidance > 1)
            with listening(networks, maps):
                return generate_images(networks, pre, prompts, range(batch), sampling)

        return made

    without, with_maps = make([]), make(WORDS)
    times = np.array([[_seconds(without), _seconds(with_maps)] for _ in range(repeats + 1)])[1:].min(0)
    for clock, (plain, mapped) in zip(("wall clock", "processor"), times.T, strict=True):
        print(f"{clock}: {plain:.2f} s without, {mapped:.2f} s with maps, ratio {mapped / plain:.2f}", flush=True)


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    auto_cli(word_maps, as_positional=False)
