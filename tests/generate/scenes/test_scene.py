"""Whole scenes: one process over overlapping windows, onto the grid of the pre image."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.studies.scene_seams import borders, seam
from data.examples.condition import CONDITIONS, condition_of
from data.imagery.pixels import resize_rgb
from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import Generator, generate_images, load_generator
from generate.images.items import file_items
from generate.images.read import read_header, read_pixels
from generate.inputs import Pixels
from generate.run import generate
from generate.sampling import Sampling
from generate.scale import window_at
from generate.scenes.denoise import denoise_scene
from generate.scenes.input import scene_windows
from generate.scenes.scene import windowing
from generate.scenes.windows import Grid
from generate.stamp import SYNTHETIC
from tests.generate.worlds import RESOLUTION, patch_row, write_dataset, write_image, write_kind, write_micro_checkpoint

TRANSFORM = rasterio.Affine(0.5, 0.1, 500_000, 0.1, -0.5, 4_000_000)


@pytest.fixture(scope="module")
def networks(run_folder: Path) -> Generator:
    """Of the micro checkpoint."""
    trained = open_checkpoint(run_folder)
    return load_generator(trained, open_base(trained), Sampling())


def write_geotiff(path: Path, height: int, width: int, **more: Any) -> Path:
    """Random pixels on a rotated grid in UTM."""
    values = np.random.default_rng(0).integers(1, 256, (3, height, width), np.uint8)
    values[:, : height // 4, : width // 4] = 0
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", **more}
    with rasterio.open(path, "w", crs="EPSG:32616", transform=TRANSFORM, **profile) as target:
        target.write(values)
    return path


def test_a_scene_of_one_window_is_a_patch(tmp_path: Path, run_folder: Path) -> None:
    """The windows' own denoising and decoding against a batch's, with guidance and late control."""
    sampling = Sampling(steps=3, guidance_scale=2.0, control_start=0.3, seed=5)
    pre = write_geotiff(tmp_path / "a.tif", RESOLUTION, RESOLUTION)
    generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt="after a flood", sampling=sampling)
    trained = open_checkpoint(run_folder)
    patch = generate_images(
        load_generator(trained, open_base(trained), sampling), [read_pixels(pre)], ["after a flood"], [5], sampling
    )
    ours = read_pixels(tmp_path / "out/a.tif")
    assert np.abs(ours.astype(int) - patch[0]).max() <= 1


PUT = CONDITIONS["pixels+mask"].put
KINDS = [
    ("lora", "pixels"),
    ("controlnet+lora", "pixels"),
    ("lora+concat", "pixels"),
    ("controlnet", "latents"),
    ("controlnet", "pixels+mask"),
    ("controlnet", "latents+mask"),
    ("controlnet", "coarse4"),
    ("controlnet", "hole"),
]


@pytest.mark.parametrize(("trained", "condition"), KINDS, ids=[" on ".join(kind) for kind in KINDS])
def test_every_kind_of_checkpoint_makes_scenes(tmp_path: Path, micro_base: Path, trained: str, condition: str) -> None:
    """As above, whatever was trained."""
    checkpoint = open_checkpoint(write_kind(tmp_path / "run", micro_base, trained, condition))
    sampling = Sampling(steps=3, guidance_scale=2.0, control_scale=0.7, seed=5)
    pre, mask = write_geotiff(tmp_path / "a.tif", RESOLUTION, RESOLUTION), None
    shown = read_pixels(pre)
    if condition in ("pixels+mask", "latents+mask", "hole"):
        mask = write_mask(tmp_path / "mask.png", RESOLUTION)
    with Image.open(mask) if mask else nullcontext() as classes:
        shown = condition_of(trained, condition).shown(Image.fromarray(shown), classes, RESOLUTION)
    arguments: dict[str, Any] = {"checkpoint": tmp_path / "run", "prompt": "after a flood", "sampling": sampling}
    generate(pre=pre, mask=mask, out=tmp_path / "out", **arguments)
    patch = generate_images(
        load_generator(checkpoint, open_base(checkpoint), sampling), [shown], ["after a flood"], [5], sampling
    )[0]
    ours = read_pixels(tmp_path / "out/a.tif")
    assert np.abs(ours.astype(int) - patch).max() <= 1


def write_mask(path: Path, side: int) -> Path:
    """Random classes."""
    classes = np.random.default_rng(3).choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (side, side))
    Image.fromarray(classes).save(path)
    return path


def test_the_mask_follows_the_windows(tmp_path: Path) -> None:
    """Behind the colours, at the network's scale, mirrored beyond the edge; as a patch is shown."""
    path, mask = write_image(tmp_path / "a.png", side=64), write_mask(tmp_path / "mask.png", 64)
    with Image.open(path) as image, Image.open(mask) as classes:
        small = CONDITIONS["pixels+mask"].shown(image, classes, 32)
    with scene_windows(path, Grid(32, 32, side=16, stride=8), 2, tmp_path / "scratch", mask, PUT) as read:
        assert np.array_equal(read(8, 16), small[8:24, 16:32])
    with scene_windows(path, Grid(40, 40, side=16, stride=8), 2, tmp_path / "scratch", mask, PUT) as read:
        assert np.array_equal(read(24, 0), np.concatenate([small[24:32], small[31:23:-1]])[:, :16])


def test_windows_agree_with_the_whole(networks: Generator, monkeypatch: Any) -> None:
    """Brute force: a network that looks at single cells says the same of windows as of the whole scene at once."""

    def pointwise(_: object, crops: Any, timestep: Any, given: Any, __: object) -> Any:
        seen = given.pre[:, :1, ::8, ::8]
        return 0.3 * crops**2 + torch.sin(3 * crops) + seen * timestep / 1000

    monkeypatch.setattr(Generator, "predict", pointwise)
    scene = np.random.default_rng(0).integers(0, 256, (88, 104, 3), np.uint8)

    def run(grid: Grid) -> NDArray[np.float32]:
        def read(top: int, left: int) -> Pixels:
            return scene[top : top + 8 * grid.side, left : left + 8 * grid.side]

        windows = [denoise_scene(networks, grid, read, "x", 3, Sampling(steps=4, batch_size=3))]
        return np.asarray(windows[0])

    square = scene[:88, :88]
    whole = run(Grid(11, 11, side=11, stride=11))
    assert square.shape == (88, 88, 3)
    assert run(Grid(11, 11, side=4, stride=3)) == pytest.approx(whole, abs=1e-4)
    assert run(Grid(11, 13, side=4, stride=2)).shape == (1, 4, 11, 13)


def test_windows_show_the_scene_at_the_size_of_training(tmp_path: Path) -> None:
    """Blocks averaged as `resize_rgb` does; beyond the edge the scene is mirrored."""
    path = write_image(tmp_path / "a.png", side=64)
    with Image.open(path) as image:
        small = resize_rgb(image, 32)
        pixels = np.asarray(image)
    with scene_windows(path, Grid(32, 32, side=16, stride=8), 2, tmp_path / "scratch") as read:
        assert np.array_equal(read(8, 16), small[8:24, 16:32])
    with scene_windows(path, Grid(72, 72, side=16, stride=8), 1, tmp_path / "scratch") as read:
        expected = np.concatenate([pixels[56:64], pixels[63:55:-1]])[:, 40:56]
        assert np.array_equal(read(56, 40), expected)
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]


def test_geotiff_comes_back_on_its_grid(tmp_path: Path, run_folder: Path) -> None:
    """Odd size, rotated transform, missing data, provenance."""
    pre = write_geotiff(tmp_path / "scene.tif", 75, 117, nodata=0)
    sampling = Sampling(steps=1, seed=9)
    generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt="después — a flood", sampling=sampling)
    with rasterio.open(pre) as source, rasterio.open(tmp_path / "out/scene.tif") as made:
        assert (made.width, made.height, made.count, made.dtypes[0]) == (117, 75, 3, "uint8")
        assert made.crs == source.crs
        assert made.transform == source.transform == TRANSFORM
        assert np.array_equal(made.dataset_mask(), source.dataset_mask())
        assert not made.read()[:, :18, :29].any()
        tags = made.tags()
    (line,) = map(json.loads, (tmp_path / "out/manifest.jsonl").read_text().splitlines())
    assert (tags["SYNTHETIC"], tags["DESCRIPTION"]) == ("yes", SYNTHETIC)
    assert (tags["PROMPT"], tags["SEED"]) == ("después — a flood", "9")
    assert tags["CHECKPOINT_SHA256"] == line["checkpoint_sha256"]
    assert json.loads(tags["PRE2POST"])["pre_sha256"] == line["pre_sha256"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.jsonl", "scene.tif"]


def test_png_of_any_size_comes_back_as_png(tmp_path: Path, run_folder: Path) -> None:
    """Larger than one window, and smaller; the larger scale of the windows is undone."""
    large, small = write_image(tmp_path / "large.png", side=80), write_image(tmp_path / "small.png", side=20)
    arguments: dict[str, Any] = {"checkpoint": run_folder, "prompt": "x", "sampling": Sampling(steps=1)}
    generate(pre=large, out=tmp_path / "a", window=64, **arguments)
    generate(pre=small, out=tmp_path / "b", **arguments)
    with Image.open(tmp_path / "a/large.png") as image:
        assert image.size == (80, 80)
        assert (image.info["SYNTHETIC"], json.loads(image.info["PRE2POST"])["window"]) == ("yes", 64)
    with Image.open(tmp_path / "b/small.png") as image:
        assert image.size == (20, 20)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["large.png", "manifest.jsonl"]


def test_transparency_of_a_png_means_what_it_means_to_build(tmp_path: Path, run_folder: Path) -> None:
    """Black that tRNS declares is a shadow and is drawn; an alpha band has holes, which stay black; no other file."""
    pixels = np.random.default_rng(0).integers(1, 256, (40, 40, 3), np.uint8)
    pixels[:10, :10] = 0
    alpha = np.where(np.arange(40) < 10, 0, 255).astype(np.uint8)[:, None].repeat(40, 1)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    Image.fromarray(pixels).save(tmp_path / "key.png", transparency=(0, 0, 0))
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "alpha.png")
    arguments: dict[str, Any] = {"checkpoint": run_folder, "prompt": "x", "sampling": Sampling(steps=1)}
    made = {}
    for name in ("plain", "key", "alpha"):
        generate(pre=tmp_path / f"{name}.png", out=tmp_path / name, **arguments)
        assert {path.name for path in (tmp_path / name).iterdir()} == {"manifest.jsonl", f"{name}.png"}
        made[name] = read_pixels(tmp_path / name / f"{name}.png")
    assert np.array_equal(made["key"], made["plain"])
    assert made["key"][:10, :10].any()
    assert np.array_equal(made["alpha"], made["plain"] * (alpha > 0)[..., None])


def test_the_watermark_repeats_over_the_scene(tmp_path: Path, run_folder: Path) -> None:
    """Strip by strip the same mark; letters reach over the borders of strips."""
    pre = write_geotiff(tmp_path / "scene.tif", 100, 150)
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": pre, "prompt": "x", "sampling": Sampling(steps=1)}
    generate(out=tmp_path / "plain", **arguments)
    generate(out=tmp_path / "marked", watermark=True, **arguments)
    plain, marked = (read_pixels(tmp_path / out / "scene.tif").astype(int) for out in ("plain", "marked"))
    touched = (plain != marked).any(-1)
    assert 0.02 < touched.mean() < 0.8
    assert touched[:, :50].any()
    assert touched[:, 100:].any()


def test_the_batch_of_windows_does_not_matter(tmp_path: Path, networks: Generator) -> None:
    """One window at a time or five at once."""
    header = read_header(write_image(tmp_path / "a.png", side=72))
    grid = windowing(RESOLUTION, None, 0.5).grid(header, 8)
    sampling = Sampling(steps=2, batch_size=1)
    with scene_windows(header.path, grid.scaled(8), 1, tmp_path / "scratch") as read:
        one = denoise_scene(networks, grid, read, "x", 0, sampling)
        five = denoise_scene(networks, grid, read, "x", 0, replace(sampling, batch_size=5))
    assert torch.allclose(one, five, atol=1e-4)


def test_a_large_scene_has_no_seams(tmp_path: Path, run_folder: Path) -> None:
    """2048 x 2048 px: the same grid, and across the borders of windows no more of a step than elsewhere."""
    pre = write_geotiff(tmp_path / "scene.tif", 2048, 2048, tiled=True)
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": pre, "prompt": "x", "window": 256}
    generate(out=tmp_path / "out", sampling=Sampling(steps=2, batch_size=32), **arguments)
    with rasterio.open(tmp_path / "out/scene.tif") as made:
        assert (made.width, made.height, made.transform, made.crs.to_epsg()) == (2048, 2048, TRANSFORM, 32616)
        assert made.block_shapes[0] == (256, 256)
    grid = windowing(RESOLUTION, 256, 0.5).grid(read_header(pre), 8)
    assert len(grid) == 15 * 15
    found = seam(read_pixels(tmp_path / "out/scene.tif"), *borders(grid, 64), 64)
    assert abs(found.z) < 3
    side_by_side: dict[str, Any] = {"overlap": 0.0, "sampling": Sampling(steps=2, batch_size=32)}
    generate(out=tmp_path / "tiles", **side_by_side, **arguments)
    tiles = windowing(RESOLUTION, 256, 0.0).grid(read_header(pre), 8)
    assert seam(read_pixels(tmp_path / "tiles/scene.tif"), *borders(tiles, 64), 64).z > 10


def test_the_ground_scale_of_the_training_is_kept(
    tmp_path: Path, run_folder: Path, micro_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patches of 64 px were shown at 32: without --window a scene is as with 64. Old checkpoints do not say it."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, patch_px=64)
    pre = write_image(tmp_path / "a.png", side=80)
    arguments: dict[str, Any] = {"pre": pre, "prompt": "x", "sampling": Sampling(steps=1)}
    for name, window in (("default", None), ("said", 64), ("other", 32)):
        generate(checkpoint=run, out=tmp_path / name, window=window, **arguments)
    default, said, other = ((tmp_path / name / "a.png").read_bytes() for name in ("default", "said", "other"))
    assert default == said != other
    assert "does not record" not in capsys.readouterr().out
    generate(checkpoint=run_folder, out=tmp_path / "old", **arguments)
    assert "does not record the size of its training patches" in capsys.readouterr().out
    odd = write_micro_checkpoint(tmp_path / "odd", micro_base, patch_px=48)
    with pytest.raises(GenerateError, match=r"48 px resized to 32 px, .* to 0\.6667 times its .* --window 32"):
        generate(checkpoint=odd, out=tmp_path / "odd-out", **arguments)
    dataset = write_dataset(tmp_path / "dataset", [patch_row(0)])
    generate(checkpoint=odd, pre=dataset, out=tmp_path / "patches", sampling=Sampling(steps=1))
    assert "patches of 64 px are resized to 32 px, but" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gsd_m", "window", "said"),
    [
        (1.0, None, None),  # windows of 64 px, two of 0.51 m to one of the network
        (1.0, 32, "one of the network covers 0.51 m, in training it was 1 m. Set --window 64."),
        (1.6, None, "covers 1.02 m, in training it was 1.6 m. Set --window 96."),
        (0.75, None, "Resample the image to pixels of 0.75 m and set --window 32."),  # neither one nor two
        (0.2, None, "Resample the image to pixels of 0.2 m and set --window 32."),
        (None, 32, None),
    ],
)
def test_another_ground_size_than_in_training_is_noted(
    gsd_m: float | None,
    window: int | None,
    said: str | None,
    tmp_path: Path,
    micro_base: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pixels of 0.51 m: the root of what one covers, 0.5 x 0.5 + 0.1 x 0.1 square metres."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, patch_px=64, gsd_m=gsd_m)
    trained, pre = open_checkpoint(run), write_geotiff(tmp_path / "scene.tif", 80, 80)
    file_items(pre, "x", trained, side=32, window=window or window_at(trained, 32))
    noted = capsys.readouterr().out
    assert said in noted if said else noted == ""
    file_items(write_image(tmp_path / "a.png", side=80), "x", trained, side=32, window=32)
    assert capsys.readouterr().out == ""  # nobody knows its ground
