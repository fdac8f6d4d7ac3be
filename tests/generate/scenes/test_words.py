"""Word maps of scenes: of one window those of a patch, of several blended; any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import Generator, load_generator
from generate.run import generate
from generate.sampling import Sampling
from generate.scenes.windows import Grid, weights
from generate.scenes.words import SceneWords
from tests.generate.scenes.test_scene import write_geotiff

SAMPLING = Sampling(steps=2, seed=5, guidance_scale=2, batch_size=2)
PROMPT = "after a flood"


def grey(path: Path) -> Any:
    """A map as numbers."""
    return np.asarray(Image.open(path)).astype(int)


def test_of_one_window(tmp_path: Path, run_folder: Path) -> None:
    """A GeoTIFF goes by windows, a PNG of the same pixels in a batch."""
    scene, patch = write_geotiff(tmp_path / "a.tif", 32, 32), tmp_path / "b.png"
    with rasterio.open(scene) as source:
        Image.fromarray(source.read().transpose(1, 2, 0)).save(patch)
    for pre in (scene, patch):
        generate(checkpoint=run_folder, pre=pre, out=tmp_path / pre.stem, prompt=PROMPT, word_maps="flood",
                 sampling=SAMPLING)  # fmt: skip
    for network in ("both", "unet", "controlnet"):
        maps = [grey(tmp_path / f"{name}/words/{name}/flood.{network}.png") for name in "ab"]
        assert np.abs(maps[0] - maps[1]).max() <= 1


def test_of_any_size(tmp_path: Path, run_folder: Path) -> None:
    """Maps as large as the scene, which is no whole number of cells."""
    pre = write_geotiff(tmp_path / "a.tif", 70, 45)
    generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt=PROMPT, word_maps="flood", sampling=SAMPLING)
    assert grey(tmp_path / "out/words/a/flood.unet.png").shape == (70, 45)
    with Image.open(tmp_path / "out/words/a/picture.png") as picture:
        assert picture.size == (2 * (45 + 4), 3 * (70 + 14 + 4))


@pytest.fixture(scope="module")
def networks(run_folder: Path) -> Generator:
    """Of the micro checkpoint."""
    trained = open_checkpoint(run_folder)
    return load_generator(trained, open_base(trained), Sampling())


def test_windows_are_blended(networks: Generator) -> None:
    """Two windows side by side that share half: 1 on the left, 3 on the right, weighted between."""
    words = SceneWords(networks, PROMPT, ["flood"], Grid(4, 6, side=4, stride=2), guided=False)
    for places in (((0, 0),), ((0, 2),)):
        with words.listen(places):
            pass
    for value, maps in zip((1.0, 3.0), words.found.values(), strict=True):
        maps.sums["unet", (4, 4)] = maps.words.new_full((1, 1, 4, 4), value)
        maps.heads["unet", (4, 4)] = 1
    (left, right), blended = (weights(4)[2:], weights(4)[:2]), words.maps()["unet"][0]
    between = (left + 3 * right) / (left + right)
    np.testing.assert_allclose(blended, np.tile([1, 1, *between, 3, 3], (4, 1)), rtol=1e-6)


def test_a_scene_too_large(tmp_path: Path, run_folder: Path) -> None:
    """Its maps are made whole."""
    pre = tmp_path / "long.png"
    Image.new("RGB", (8200, 32)).save(pre)
    with pytest.raises(GenerateError, match="long is 8200 x 32 px; expected at most 8,192"):
        generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt=PROMPT, word_maps="flood")
