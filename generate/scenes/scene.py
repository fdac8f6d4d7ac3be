"""A whole scene of any size, in overlapping windows, on the grid of its pre image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset.processes import Processes
from generate.errors import GenerateError
from generate.generator import Generator
from generate.images.read import ImageHeader
from generate.inputs import Metadata
from generate.sampling import Sampling
from generate.scenes.denoise import denoise_scene
from generate.scenes.input import scene_windows
from generate.scenes.output import write_scene
from generate.scenes.windows import Grid
from generate.scenes.words import SceneWords
from generate.words.maps import Floats


@dataclass(frozen=True)
class Windowing:
    """How scenes are cut into windows."""

    side: int  # of the network's input, px
    factor: int  # scene pixels per network pixel
    overlap: float  # share of a window that its neighbour also covers

    def grid(self, header: ImageHeader, cell_px: int) -> Grid:
        """The windows over a scene's latents; each cell covers `cell_px` network pixels."""
        side = self.side // cell_px
        cells = [max(side, -(-length // (cell_px * self.factor))) for length in (header.height, header.width)]
        height, width = cells
        return Grid(height, width, side, stride=max(1, round(side * (1 - self.overlap))))


def windowing(side: int, window: int | None, overlap: float) -> Windowing:
    """Check how scenes are cut into windows.

    Args:
        side: of the network's input, px.
        window: side in scene pixels of the window that fills it; None = `side`.
        overlap: share of a window that its neighbour also covers.

    Raises:
        GenerateError: the window or overlap is invalid.
    """
    window = window or side
    if window < side or window % side:
        raise GenerateError(
            f"window is {window} px; expected a whole multiple of the network's {side} px. It is the "
            "--size of the dataset that the checkpoint was trained on."
        )
    if not 0 <= overlap <= 0.9:
        raise GenerateError(f"overlap is {overlap}; expected a share from 0 to 0.9, usually 0.5.")
    return Windowing(side, window // side, overlap)


def generate_scene(
    generator: Generator,
    header: ImageHeader,
    windows: Windowing,
    prompt: str,
    words: Sequence[str],
    seed: int,
    sampling: Sampling,
    out: Path,
    made: dict[str, Any],
    *,
    first_step: int = 0,
    metadata: Metadata | None = None,
    watermark: bool,
    on_window: Callable[[int], object],
    team: Processes,
) -> dict[str, Floats]:
    """Generate one scene into the file `out`; temporary files are written beside it.

    Several processes may work jointly if no word maps are requested: they share the windows, the first writes. See
    `denoise_scene` for `first_step` and `metadata`.

    Returns:
        network -> (words, rows, columns) the maps of the words; empty without any.
    """
    grid = windows.grid(header, generator.cell_px)
    in_pixels = grid.scaled(generator.cell_px)
    scratch = out.with_name(f"{out.stem}.pre.partial")
    put = generator.condition.put if generator.condition else None
    heard = SceneWords(generator, prompt, words, grid, guided=sampling.guidance_scale > 1)
    with scene_windows(header.path, in_pixels, windows.factor, scratch, header.mask, put, team) as read_pre:
        size = header.height, header.width
        latents = denoise_scene(
            generator, grid, read_pre, prompt, seed, sampling, on_window, team, heard.listen, first_step, metadata, size
        )
    write_scene(generator, latents, grid, windows.factor, header.path, out, made, watermark, team)
    return heard.maps()
