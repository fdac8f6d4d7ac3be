"""What the page makes is what `pre2post generate` makes, byte for byte."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from app.errors import AppError
from app.models import Model, Models
from app.painting import layer_of
from app.picks import Picks
from app.work import Made, Order, make
from generate.errors import GenerateError
from generate.images.read import read_pixels
from generate.run import generate
from generate.sampling import SCHEDULERS, Sampling
from generate.stamp import read_stamp
from tests.families import MICRO
from tests.generate.scenes.test_scene import write_geotiff
from tests.generate.worlds import PATCH_PX, RESOLUTION, write_image, write_micro_checkpoint

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # inside diffusers' solver
SAMPLING = Sampling(steps=2, samples=2, seed=5, scheduler="dpm++")


def order(model: Path | str, **given: Any) -> Order:
    return Order(**{"model": str(model), "prompt": "after a flood", "sampling": SAMPLING, **given})


def made_by(models: Models, picks: Picks, folder: Path, asked: Order) -> Made:
    folder.mkdir()
    return make(asked, models, picks, folder, lambda share: None)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["patch", "scene", "geotiff"])
def test_an_upload_is_made_as_by_the_command(
    kind: str,
    tmp_path: Path,
    models: Models,
    picks: Picks,
    runs: Path,
    micro_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pixels, tags, word maps and manifest; the command is given the file's name alone, as the page records it."""
    if kind == "geotiff":
        pre = write_geotiff(tmp_path / "place.tif", RESOLUTION, RESOLUTION + 9)
    else:
        pre = write_image(tmp_path / "place.png", RESOLUTION * (1 if kind == "patch" else 2))
    asked = order(runs / "plain", upload=pre, words="flood", watermark=True)
    made = made_by(models, picks, tmp_path / "job", asked)
    images = made.files[:2]
    monkeypatch.chdir(tmp_path)
    generate(
        checkpoint=runs / "plain", base=str(micro_base), pre=Path(pre.name), out=tmp_path / "command",
        prompt="after a flood", word_maps="flood", watermark=True, sampling=SAMPLING,
    )  # fmt: skip
    ours, theirs = files(tmp_path / "job/images"), files(tmp_path / "command")
    assert ours == theirs
    assert len(ours) == 2 + 2 * 4 + 1  # images, maps of three kinds with their picture, manifest
    assert [file.name for file in made.files] == [image.name for image in images] + ["word-maps.zip", "manifest.jsonl"]
    with zipfile.ZipFile(made.files[2]) as packed:
        assert {f"words/{name}": packed.read(name) for name in packed.namelist()}.items() <= theirs.items()
        assert len(packed.namelist()) == 8


def test_a_picked_patch_is_made_as_by_the_command(
    tmp_path: Path, models: Models, picks: Picks, runs: Path, dataset: Path, micro_base: Path
) -> None:
    """With its own damage mask; the command makes all patches, the page one."""
    name = picks.names()[2]
    made = made_by(models, picks, tmp_path / "job", order(runs / "masked", pick=name))
    generate(
        checkpoint=runs / "masked", base=str(micro_base), pre=dataset, out=tmp_path / "command", prompt="after a flood",
        sampling=SAMPLING,
    )  # fmt: skip
    assert made.seeds == [5 + 2, 5 + 2 + 1_000_000]
    for image in made.files[:2]:
        theirs = read_pixels(tmp_path / "command" / image.name)
        assert np.abs(read_pixels(image).astype(int) - theirs).max() <= 1  # other batches sum in another order
    assert np.array_equal(read_pixels(made.pre), picks.patch(name).pre)
    assert made.real and np.array_equal(read_pixels(made.real), picks.patch(name).post)


def test_painted_damage_is_the_mask(
    tmp_path: Path, models: Models, picks: Picks, runs: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pre = write_image(tmp_path / "place.png")
    mask = np.zeros((RESOLUTION, RESOLUTION), np.uint8)
    mask[4:20, 8:30] = 4
    asked = order(runs / "masked", upload=pre, painted=[layer_of(mask)])
    made_by(models, picks, tmp_path / "job", asked)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    generate(
        checkpoint=runs / "masked", base=str(micro_base), pre=Path("place.png"), mask=Path("mask.png"),
        out=tmp_path / "command", prompt="after a flood", sampling=SAMPLING,
    )  # fmt: skip
    assert files(tmp_path / "job/images") == files(tmp_path / "command")
    other = made_by(models, picks, tmp_path / "other", order(runs / "masked", pick=picks.names()[0], painted=[]))
    own = made_by(models, picks, tmp_path / "own", order(runs / "masked", pick=picks.names()[0]))
    assert not np.array_equal(read_pixels(other.files[0]), read_pixels(own.files[0]))
    line = json.loads((tmp_path / "other/images/manifest.jsonl").read_text().splitlines()[0])
    assert len(line["painted_mask_sha256"]) == 64


@pytest.mark.parametrize("kind", ["png", "tif", "pick"])
def test_the_base_alone_edits_whatever_it_is_given(
    kind: str, tmp_path: Path, models: Models, picks: Picks, micro_base: Path
) -> None:
    """Of any size, on the grid of a GeoTIFF, marked as synthetic; a checkpoint is not claimed."""
    given: dict[str, Any] = {"pick": picks.names()[0]}
    if kind == "png":
        given = {"upload": write_image(tmp_path / "place.png", RESOLUTION + 7), "words": "flood"}
    elif kind == "tif":
        given = {"upload": write_geotiff(tmp_path / "place.tif", 50, 40)}
    made = made_by(models, picks, tmp_path / "job", order(f"{micro_base} (the base alone)", **given))
    assert read_pixels(made.files[0]).shape[:2] == {
        "png": (RESOLUTION + 7, RESOLUTION + 7), "tif": (50, 40), "pick": (RESOLUTION, RESOLUTION)
    }[kind]  # fmt: skip
    if kind == "tif":
        with rasterio.open(made.files[0]) as ours, rasterio.open(given["upload"]) as theirs:
            assert (ours.crs, ours.transform) == (theirs.crs, theirs.transform)
            assert ours.tags()["SYNTHETIC"] == "yes"
        assert read_pixels(made.shown[0]).shape == (50, 40, 3)
    else:
        stamp = read_stamp(made.files[0])
        assert stamp and stamp["method"] == "sdedit" and "checkpoint" not in stamp


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no pre-disaster image yet"),
        ({"prompt": "a" * 10_001, "pick": "x"}, "10,001 characters"),
        ({"sampling": Sampling(samples=9), "pick": "x"}, "9 images of 100 steps"),
        ({"sampling": Sampling(steps=251), "pick": "x"}, "1 images of 251 steps"),
    ],
)
def test_an_order_has_limits(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AppError, match=said):
        order("x", **given)


def test_a_long_caption_is_refused_by_its_tokens(tmp_path: Path, models: Models, picks: Picks, runs: Path) -> None:
    with pytest.raises(GenerateError, match="more than the 77 tokens"):
        made_by(models, picks, tmp_path / "job", order(runs / "plain", pick=picks.names()[0], prompt="flood " * 1666))


def test_metadata_of_the_new_image_replace_what_is_known(
    tmp_path: Path, models: Models, picks: Picks, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metres per pixel are those of the image that was given, here half as many as of the network's; unknown is NaN."""
    monkeypatch.setattr(Model, "reads_metadata", True)
    seen: list[Any] = []

    def make_images(tasks: Any, *given: Any, **more: Any) -> None:
        seen.append(tasks[0].item.metadata)
        raise InterruptedError

    monkeypatch.setattr("app.work.make_images", make_images)
    natural = {"lon": 10.0, "lat": 20.0, "gsd": 0.5, "cloud_cover": 0.1, "year": 2018, "month": 6, "day": None}
    with pytest.raises(InterruptedError):
        made_by(models, picks, tmp_path / "job", order(runs / "plain", pick=picks.names()[0], metadata=natural))
    target, source = seen[0]
    factor = PATCH_PX / RESOLUTION
    assert np.allclose(target, [10, 20, 0.5 * factor, 0.1, 2018, 6, np.nan], equal_nan=True)
    assert np.allclose(source, [10, 20, 0.5 * factor, *[np.nan] * 4], equal_nan=True)  # the patch's own is unknown


def test_every_family_has_its_samplers(tmp_path: Path, models: Models, picks: Picks, runs: Path) -> None:
    """Flows have one, UNets the others, a base alone those that may begin in the middle; what does not fit is said.

    The micro base starts in pure noise.
    """
    base = MICRO["stable_diffusion_3"](tmp_path / "base")
    flows = Models([write_micro_checkpoint(tmp_path / "run", base, condition="latents")], str(base))
    for number, name in enumerate(flows.names()):
        assert flows.open(name).samplers == ["flow-euler"]
        pre, asked = write_image(tmp_path / "place.png"), Sampling(steps=2, scheduler="flow-euler")
        made = made_by(flows, picks, tmp_path / f"made{number}", order(name, upload=pre, sampling=asked))
        assert (read_stamp(made.files[0]) or {})["scheduler"] == "flow-euler"
        with pytest.raises(AppError, match=r"is not made with dpm\+\+; choose flow-euler\."):
            made_by(flows, picks, tmp_path / f"refused{number}", order(name, upload=pre))
    plain, alone = models.open(str(runs / "plain")).samplers, models.open(models.names()[-1]).samplers
    assert plain == [name for name in SCHEDULERS if name not in ("flow-euler", "pndm", "heun")]
    assert set(alone) == {"ddim", "unipc", "dpm++"}
