"""`pre2post generate --word-maps`: the files, what they say, going on, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import generate_images, load_generator
from generate.images.read import read_pixels
from generate.run import generate
from generate.sampling import Sampling
from generate.stamp import read_stamp
from generate.words.maps import enlarged, listening, maps_for, means
from tests.generate.worlds import write_image

SAMPLING = Sampling(steps=2, seed=5, guidance_scale=2)
PROMPT = "after a flood number 1"
FILES = [f"{word}.{network}.png" for word in ("after+a", "flood") for network in ("both", "controlnet", "unet")]


def grey(path: Path) -> Any:
    """A map as it lies on the disk: 8 bits, one band."""
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


@pytest.fixture(scope="module")
def pre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of the network's size."""
    return write_image(tmp_path_factory.mktemp("pre") / "town.png")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, pre: Path) -> Path:
    """Two samples with the maps of two words."""
    folder = tmp_path_factory.mktemp("maps") / "out"
    sampling = Sampling(steps=2, seed=5, guidance_scale=2, samples=2)
    generate(checkpoint=run_folder, pre=pre, out=folder, prompt=PROMPT, word_maps="Flood,after a", sampling=sampling)
    return folder


def test_files_and_what_they_say(out: Path, run_folder: Path, pre: Path) -> None:
    """Every map is that of the networks, its highest value 255; the picture has all."""
    assert sorted(path.name for path in out.iterdir()) == ["manifest.jsonl", "town.png", "town_s1.png", "words"]
    for stem in ("town", "town_s1"):
        assert sorted(path.name for path in (out / "words" / stem).iterdir()) == sorted([*FILES, "picture.png"])
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["word_maps"] for line in lines] == [["flood", "after a"]] * 2
    trained = open_checkpoint(run_folder)
    networks = load_generator(trained, open_base(trained), SAMPLING)
    maps = maps_for(networks, [PROMPT], [["flood"]], (32, 32), guided=True)
    assert maps
    with listening(networks, maps):
        (image,) = generate_images(networks, [read_pixels(pre)], [PROMPT], [5], SAMPLING)
    assert np.abs(np.asarray(Image.open(out / "town.png")).astype(int) - image).max() <= 1
    for network, values in means(maps).items():
        path = out / "words/town" / f"flood.{network}.png"
        stamp = read_stamp(path)
        assert stamp and (stamp["word"], stamp["network"]) == ("flood", network)
        assert stamp["highest"] == pytest.approx(float(values.max()), rel=1e-5)
        expected = np.asarray(enlarged(values[0, 0], (32, 32), 8))
        assert grey(path).max() == 255 and np.abs(grey(path).astype(int) - expected).max() <= 1
    with Image.open(out / "words/town/picture.png") as picture:
        assert picture.size == (3 * (32 + 4), 3 * (32 + 14 + 4))  # image and two words; three networks


def test_an_enlarged_map_by_hand() -> None:
    """The corners of the image are those of the map, whose last cells may reach beyond it."""
    values = np.array([[0.0, 0.2], [0.1, 0.4]], np.float32)
    whole = np.asarray(enlarged(values, (16, 16), 8))
    assert whole.shape == (16, 16) and whole[0, 0] == 0 and whole[-1, -1] == 255
    assert np.array_equal(np.asarray(enlarged(values, (12, 9), 8)), whole[:12, :9])
    assert not np.asarray(enlarged(np.zeros((2, 2), np.float32), (16, 16), 8)).any()


def test_images_are_those_without_maps(out: Path, tmp_path: Path, run_folder: Path, pre: Path) -> None:
    """To the bit; and a folder of images without maps is not taken for one with maps."""
    made = tmp_path / "out"
    generate(checkpoint=run_folder, pre=pre, out=made, prompt=PROMPT, sampling=SAMPLING)
    assert np.array_equal(np.asarray(Image.open(made / "town.png")), np.asarray(Image.open(out / "town.png")))
    with pytest.raises(GenerateError, match="word_maps None, not"):
        generate(checkpoint=run_folder, pre=pre, out=made, prompt=PROMPT, word_maps="flood", sampling=SAMPLING)


def test_going_on(out: Path, run_folder: Path, pre: Path) -> None:
    """What lost its maps is made again, the rest is kept; a strange file among the maps is named."""
    picture, kept = out / "words/town/picture.png", out / "words/town_s1/picture.png"
    before = kept.stat().st_mtime_ns, (out / "town.png").read_bytes(), picture.read_bytes()
    picture.unlink()
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": pre, "out": out, "prompt": PROMPT}
    sampling = Sampling(steps=2, seed=5, guidance_scale=2, samples=2)
    generate(**arguments, word_maps="flood,after a", sampling=sampling)
    assert (kept.stat().st_mtime_ns, (out / "town.png").read_bytes(), picture.read_bytes()) == before
    for strange in (out / "words/notes.txt", out / "words/town/notes.txt"):
        strange.write_text("mine")
        with pytest.raises(GenerateError, match=r"contains other files \(words\)"):
            generate(**arguments, word_maps="flood,after a", sampling=sampling)
        strange.unlink()


def test_captions_of_a_dataset(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Four captions that end in their number: the map of a number is that of one patch only."""
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "out", word_maps="flood,2", sampling=Sampling(steps=1))
    words = tmp_path / "out/words"
    assert len(list(words.glob("*/flood.both.png"))) == 4
    assert [path.parent.name for path in words.glob("*/2.unet.png")] == ["juniper-creek-fire_00000002_0000_0000_64"]
    with pytest.raises(GenerateError, match=r"no prompt has the word 'fire'.*: 0, 1, 2, 3, a, after, flood, number"):
        generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "other", word_maps="fire")
    assert not (tmp_path / "other").exists()
