"""The latents of a whole scene: one denoising process, its prediction blended from overlapping windows in each step.

All windows share the latents, so that neighbouring windows continue each other's content. Only the latents of the
scene grow with it, 16 to 32 bytes for every 8 x 8 px, and those of its windows if the network is
conditioned on latents, and up to 1 GiB of what a T2I-Adapter has made of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from data.dataset.processes import Processes
from data.examples.place import Place
from generate.generator import Generator, check_finite, conditioning, set_steps
from generate.inputs import Metadata, Pixels
from generate.processes import ALONE, in_turn
from generate.sampling import Sampling
from generate.scenes.windows import Grid, weight_sums, weights
from models.denoiser import Shown
from models.images import encode
from models.sampling import generators, noise, sample

KEPT_BYTES = 2**30
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
    first_step: int = 0,
    metadata: Metadata | None = None,
    scene_px: tuple[int, int] | None = None,
) -> Tensor:
    """Sample the latents of a scene; one of a single window gives the same image as `generate_images`.

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
        first_step: start from the pre image, noised to the level of this step, as in SDEdit; 0 = from noise alone.
        metadata: of the scene, for networks conditioned on it; None = unknown.
        scene_px: height and width of the scene as delivered; None = as the windows see it.

    Returns:
        (1, C, grid.height, grid.width) float32, scaled as the UNet expects.
    """
    set_steps(generator, sampling.steps)
    sampler, side = generator.sampler, grid.side
    lie = partial(_places, grid=grid, cell_px=generator.cell_px, scene_px=scene_px)
    caption = generator.conditions([prompt], None, metadata and [metadata], sampling, lie([(0, 0)]))

    def read(places: Places) -> Shown | None:
        return generator.shown([read_pre(y * generator.cell_px, x * generator.cell_px) for y, x in places])

    # Latents are cached: encoding them costs as much as a denoising step.
    shown = cache(read) if generator.condition and generator.condition.latents else _kept(read)

    def encode_windows(places: Places) -> Tensor:
        pixels = conditioning([read_pre(y * generator.cell_px, x * generator.cell_px)[..., :3] for y, x in places])
        return generator.base.latents.scaled(encode(generator.vae, pixels.to(generator.device)))

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        def predict_windows(places: Places) -> Tensor:
            crops = torch.cat([latents[..., y : y + side, x : x + side] for y, x in places])
            given = caption.repeated(0, len(places), shown(places), generator.placed(lie(places)))
            with listen(places):
                return generator.predict(crops, timestep, given, sampling)

        return _blended(latents, grid, sampling.batch_size, predict_windows, on_window, team)

    timesteps = sampler.timesteps[first_step:]
    shape, random = (generator.vae.config.latent_channels, grid.height, grid.width), generators([seed])
    start = noise(shape, random, generator.device)
    if not first_step:
        start = start * sampler.init_noise_sigma
    else:
        if hasattr(sampler, "set_begin_index"):  # multistep solvers count steps
            sampler.set_begin_index(first_step)
        clean = _blended(start, grid, sampling.batch_size, encode_windows, lambda done: None, team)
        start = sampler.add_noise(clean, start, timesteps[:1])
    latents = sample(predict, sampler, start, timesteps, generator=random)
    check_finite(latents.cpu().numpy(), [seed])
    return latents


def _kept(read: Callable[[Places], Shown | None]) -> Callable[[Places], Shown | None]:
    """The same; features of the first windows are remembered, as many as fit into KEPT_BYTES."""
    found, held = dict[Places, Shown](), 0

    def shown(places: Places) -> Shown | None:
        nonlocal held
        features = found.get(places)
        if features is None:
            features = read(places)
            if features is not None and not isinstance(features, Tensor) and held < KEPT_BYTES:
                found[places], held = features, held + sum(feature.nbytes for feature in features)
        return features

    return shown


def _places(
    windows: Sequence[tuple[int, int]], grid: Grid, cell_px: int, scene_px: tuple[int, int] | None
) -> list[Place]:
    """Where windows lie in the scene."""
    height, width = scene_px or (grid.height * cell_px, grid.width * cell_px)
    side = grid.side * cell_px
    return [(height, width, top * cell_px, left * cell_px, side, side) for top, left in windows]


def grid_weights(grid: Grid) -> tuple[Tensor, Tensor]:
    """(side, side) weights of a window's cells, and (height, width) their sum over all windows."""
    sums = (weight_sums(length, grid.side, grid.stride) for length in (grid.height, grid.width))
    one = weights(grid.side)
    return torch.from_numpy(np.outer(one, one)), torch.from_numpy(np.outer(*sums))


def _blended(
    like: Tensor,
    grid: Grid,
    batch_size: int,
    of_windows: Callable[[Places], Tensor],
    on_window: Callable[[int], object],
    team: Processes,
) -> Tensor:
    """Latents of the scene, shaped `like`, as the weighted means of those of its windows."""
    window_weight, weight_sum = (part.to(like.device) for part in grid_weights(grid))
    blended, side = torch.zeros_like(like), grid.side
    for places, parts in in_turn(_batches(grid, batch_size), of_windows, team):
        for (y, x), part in zip(places, parts, strict=True):
            blended[0, :, y : y + side, x : x + side] += window_weight * part
        on_window(len(places))
    return blended / weight_sum


def _batches(grid: Grid, size: int) -> list[Places]:
    places = iter(grid)
    return [batch for batch in iter(lambda: tuple(islice(places, size)), ())]
