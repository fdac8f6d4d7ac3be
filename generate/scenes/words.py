"""Word maps of a scene: those of its windows, blended as their predictions are."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from generate.generator import Generator
from generate.images.read import open_raster
from generate.inputs import Pixels
from generate.scenes.denoise import Places, grid_weights
from generate.scenes.windows import Grid
from generate.words.maps import Floats, listening, maps_for, means
from generate.words.picture import panel_size
from models.attention_maps import AttentionMaps


class SceneWords:
    """Sums for every window: they grow with the scene, not with layers and steps."""

    def __init__(self, generator: Generator, prompt: str, words: Sequence[str], grid: Grid, *, guided: bool) -> None:
        self.generator, self.prompt, self.words, self.grid, self.guided = generator, prompt, words, grid, guided
        self.found: dict[Places, AttentionMaps] = {}

    def listen(self, places: Places) -> AbstractContextManager[None]:
        """Within the block, some windows are predicted."""
        if places not in self.found:
            side_px, count = self.grid.side * self.generator.cell_px, len(places)
            prompts, words = [self.prompt] * count, [self.words] * count
            maps = maps_for(self.generator, prompts, words, (side_px, side_px), guided=self.guided)
            if maps is None:
                return listening(self.generator, None)
            self.found[places] = maps
        return listening(self.generator, self.found[places])

    def maps(self) -> dict[str, Floats]:
        """Network -> (words, grid.height, grid.width) share of the attention, 0..1."""
        side, blended = self.grid.side, dict[str, Floats]()
        weight, weight_sum = (part.numpy() for part in grid_weights(self.grid))
        for places, found in self.found.items():
            for network, windows in means(found).items():
                shape = (len(self.words), self.grid.height, self.grid.width)
                scene = blended.setdefault(network, np.zeros(shape, np.float32))
                for (top, left), window in zip(places, windows, strict=True):
                    scene[:, top : top + side, left : left + side] += weight * window
        return {network: scene / weight_sum for network, scene in blended.items()}


def thumbnail(path: Path) -> Pixels:
    """A scene as small as a panel of the picture, read in strips."""
    with open_raster(path) as source:
        width, height = panel_size((source.height, source.width))
        return np.asarray(source.read(out_shape=(3, height, width))).transpose(1, 2, 0)
