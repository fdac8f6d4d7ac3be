"""The latents of a whole scene: one denoising process, its prediction blended from overlapping windows in each step.

All windows share the latents, so that neighbouring windows continue each other's content. Only the latents of the
scene grow with it, 16 to 32 bytes for every 8 x 8 px, and those of its windows if the network is
conditioned on latents.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from data.dataset.processes import Processes
from generate.generator import Generator, check_finite, set_steps
from generate.inputs import Pixels
from generate.processes import ALONE, in_turn
from generate.sampling import Sampling
from generate.scenes.windows import Grid, weight_sums, weights
from models.sampling import noise, sample

Places = tuple[tuple[int, int], ...]  # (top, left) of windows
ReadWindow = Callable[[int, int], Pixels]  # (top, left) in network pixels -> (side, side, 3)


@torch.inference_mode()
def denoise_scene(
    generator: Generator,
    grid: Grid,
    read_pre: ReadWindow,
    prompt: str,
    seed: int,
    sampling: Sampling,
    on_window: Callable[[int], object] = lambda done: None,
    team: Processes = ALONE,
    listen: Callable[[Places], AbstractContextManager[None]] = lambda places: nullcontext(),
) -> Tensor:
    """Sample the latents of a scene.

    A scene of a single window gives the same image as `generate_images`.

    Args:
        generator: from `load_generator`.
        grid: windows over the latents.
        read_pre: the pre image in one window.
        prompt: of the whole scene.
        seed: of the initial noise of the whole scene, drawn on the CPU.
        sampling: its scheduler, precision and seed are already in `generator` and `seed`.
        on_window: called with the number of windows just predicted.
        team: the processes that share the windows; each gets all latents, bit-identical to those of a single process.
        listen: around the prediction of some windows.

    Returns:
        (1, C, grid.height, grid.width) float32, scaled as the UNet expects.
    """
    set_steps(generator, sampling.steps)
    sampler, side = generator.sampler, grid.side
    caption = generator.conditions([prompt], None, None, sampling)
    window_weight, weight_sum = (part.to(generator.device) for part in grid_weights(grid))

    def read(places: Places) -> Tensor | None:
        return generator.shown([read_pre(y * generator.cell_px, x * generator.cell_px) for y, x in places])

    # Latents are cached: encoding them costs as much as a denoising step.
    shown = cache(read) if generator.condition and generator.condition.latents else read

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        def predict_windows(places: Places) -> Tensor:
            crops = torch.cat([latents[..., y : y + side, x : x + side] for y, x in places])
            given = caption.repeated(0, len(places), shown(places))
            with listen(places):
                return generator.predict(crops, timestep, given, sampling)

        blended = torch.zeros_like(latents)
        for places, predicted in in_turn(_batches(grid, sampling.batch_size), predict_windows, team):
            for (y, x), part in zip(places, predicted, strict=True):
                blended[0, :, y : y + side, x : x + side] += window_weight * part
            on_window(len(places))
        return blended / weight_sum

    shape = (generator.vae.config.latent_channels, grid.height, grid.width)
    start = noise(shape, [seed], generator.device) * sampler.init_noise_sigma
    latents = sample(predict, sampler, start, sampler.timesteps)
    check_finite(latents.cpu().numpy(), [seed])
    return latents


def grid_weights(grid: Grid) -> tuple[Tensor, Tensor]:
    """(side, side) weights of a window's cells, and (height, width) their sum over all windows."""
    sums = (weight_sums(length, grid.side, grid.stride) for length in (grid.height, grid.width))
    one = weights(grid.side)
    return torch.from_numpy(np.outer(one, one)), torch.from_numpy(np.outer(*sums))


def _batches(grid: Grid, size: int) -> list[Places]:
    places = iter(grid)
    return [batch for batch in iter(lambda: tuple(islice(places, size)), ())]
