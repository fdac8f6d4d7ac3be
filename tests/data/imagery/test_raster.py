"""Reading PNG and GeoTIFF: which pixels, which mask, and what is refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.windows import Window as Region

from data.errors import DataError
from data.imagery.raster import check_mask, opened, opened_image, parse_bands, read_rgb
from tests.data.rasters import NORTH_UP, noise, write_png16, write_tif


def read(path: Path, bands: tuple[int, int, int] = (1, 2, 3), region: Region | None = None) -> tuple[Any, Any]:
    with opened(path) as dataset:
        return read_rgb(dataset, path, bands, region)


def write_mode(path: Path, mode: str) -> Path:
    Image.new(mode, (8, 8)).save(path)
    return path


def test_bands_are_numbers_from_one() -> None:
    assert parse_bands("5,3,2") == (5, 3, 2)
    assert parse_bands(" 1, 1,1 ") == (1, 1, 1)  # a panchromatic image
    for text in ("", "1,2", "1,2,3,4", "0,1,2", "1,2,-3", "r,g,b", "1;2;3", "1,2,³"):
        with pytest.raises(DataError, match="expected the three bands"):
            parse_bands(text)


def test_chosen_bands_of_a_window(tmp_path: Path) -> None:
    bands = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7) * 100
    path = write_tif(tmp_path / "five.tif", bands)
    pixels, valid = read(path, (5, 3, 2), Region(1, 2, 4, 3))
    assert pixels.dtype == np.uint16 and pixels.shape == (3, 4, 3) and valid.all()
    np.testing.assert_array_equal(pixels, bands[[4, 2, 1], 2:5, 1:5].transpose(1, 2, 0))


def test_png_of_8_and_16_bits(tmp_path: Path) -> None:
    pixels = noise(5, 6).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "8.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(read(tmp_path / "8.png")[0], pixels)
    deep = pixels.astype(np.uint16) * 257
    write_png16(tmp_path / "16.png", deep.transpose(2, 0, 1))
    np.testing.assert_array_equal(read(tmp_path / "16.png")[0], deep)


def test_what_holds_no_data(tmp_path: Path) -> None:
    """By transparency, by a no-data value in all bands, by a mask. The colour that a PNG calls transparent is data."""
    bands, hole = noise(6, 6), np.zeros((6, 6), bool)
    hole[:2, 3:] = True
    alpha = np.where(hole, 0, 255).astype(np.uint8)[None]
    Image.fromarray(np.concatenate([bands, alpha]).transpose(1, 2, 0).copy()).save(tmp_path / "alpha.png")
    black = np.where(hole, 0, bands).astype(np.uint8)
    Image.fromarray(black.transpose(1, 2, 0).copy()).save(tmp_path / "key.png", transparency=(0, 0, 0))
    negative = np.where(hole, -99, bands.astype(np.int16)).astype(np.int16)
    negative[0, 5, 5] = -99  # in one band alone
    write_tif(tmp_path / "value.tif", negative, nodata=-99)
    write_tif(tmp_path / "alpha.tif", np.concatenate([bands, alpha]).astype(np.int16))
    with rasterio.open(tmp_path / "alpha.tif", "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tif(tmp_path / "mask.tif", bands)
        with rasterio.open(tmp_path / "mask.tif", "r+") as file:
            file.write_mask(~hole)
    for name in ("alpha.png", "value.tif", "alpha.tif", "mask.tif"):
        np.testing.assert_array_equal(read(tmp_path / name)[1], ~hole, err_msg=name)
    assert read(tmp_path / "key.png")[1].all()


@pytest.mark.parametrize(
    ("dtype", "count", "message"),
    [
        ("float32", 3, "band 1 holds float32, expected uint8, uint16, int16"),
        ("complex64", 3, "band 1 holds complex64"),
        ("uint32", 4, "band 1 holds uint32"),
        ("uint8", 2, r"has 2 bands, but --bands 1,2,3 needs 3\. Choose others with --bands"),
        ("uint8", 1, "has 1 band, but .*grey.*--bands 1,1,1"),
    ],
)
def test_other_kinds_of_bands_are_refused(tmp_path: Path, dtype: str, count: int, message: str) -> None:
    path = write_tif(tmp_path / "odd.tif", np.ones((count, 4, 4), dtype))
    with pytest.raises(DataError, match=rf"odd\.tif: {message}"):
        read(path)


def test_palettes_and_transparency_are_no_colours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 1 band.*gdal_translate -expand rgb"):
        read(write_mode(tmp_path / "palette.png", "P"))
    with pytest.raises(DataError, match="band 4 is its transparency"):
        read(write_mode(tmp_path / "alpha.png", "RGBA"), (1, 2, 4))
    with pytest.raises(DataError, match=r"3 bands of uint8, expected a mask: one band"):
        path = write_mode(tmp_path / "rgb.png", "RGB")
        with opened(path) as dataset:
            check_mask(dataset, path)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "text.tif").write_text("not an image")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "empty.png").touch()
    write_mode(tmp_path / "photo.jpg", "RGB")
    for name, message in {
        "text.png": "its end is missing",
        "text.tif": "cannot be opened",
        "folder.tif": "is a folder, expected a file",
        "loop.png": "cannot be read",
        "empty.png": "its end is missing",
        "photo.jpg": r"neither PNG nor GeoTIFF\. Expected a name that ends in \.png, \.tif, \.tiff",
        "nowhere.tif": "cannot be read",
        "n\udcffn.tif": "cannot be read",
    }.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_files_cut_short_are_refused_wherever_they_end(tmp_path: Path) -> None:
    """GDAL itself fills the rest of a cut PNG with black and says nothing."""
    bands = noise(40, 40)
    Image.fromarray(bands.transpose(1, 2, 0).copy()).save(tmp_path / "whole.png")
    write_tif(tmp_path / "whole.tif", bands, compress="deflate")
    for suffix in (".png", ".tif"):
        content = (tmp_path / f"whole{suffix}").read_bytes()
        for length in [*range(0, 60), *range(60, len(content), 397), *range(len(content) - 20, len(content))]:
            path = tmp_path / f"cut{suffix}"
            path.write_bytes(content[:length])
            try:
                pixels, _ = read(path)
            except DataError as error:
                assert str(path) in str(error)
            else:  # what is missing of a GeoTIFF may be padding
                assert suffix == ".tif"
                np.testing.assert_array_equal(pixels, bands.transpose(1, 2, 0))
    flipped = bytearray((tmp_path / "whole.png").read_bytes())
    flipped[len(flipped) // 2] ^= 255
    (tmp_path / "flip.png").write_bytes(flipped)
    with pytest.raises(DataError, match=r"flip\.png: cannot be decoded"):
        read(tmp_path / "flip.png")


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    """A few hundred bytes that would become gigabytes."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 99)) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match=r"100000 x 100000 px are too many for a PNG\. Store it in tiles"):
        read(tmp_path / "bomb.png")
    size = {"height": 20_000, "width": 20_000, "count": 3, "dtype": "uint8", "transform": NORTH_UP}
    one_tile = {"tiled": True, "blockxsize": 20_000, "blockysize": 20_000, "sparse_ok": True}
    with rasterio.open(tmp_path / "bomb.tif", "w", driver="GTiff", **size, **one_tile):
        pass
    assert (tmp_path / "bomb.tif").stat().st_size < 10_000
    with pytest.raises(DataError, match=r"its blocks of 20000 x 20000 px take 1,144 MB each\. Store it in tiles"):
        read(tmp_path / "bomb.tif")


def four_bands(path: Path, band: np.ndarray, **more: Any) -> Path:
    """Noise and a fourth band, which GDAL calls alpha by itself."""
    return write_tif(path, np.concatenate([noise(*band.shape), band[None]]), **more)


def soft_mask(height: int, width: int) -> np.ndarray:
    """255 right of a collar of 0, soft between."""
    return np.clip((np.arange(width) - 10) * 50, 0, 255).astype(np.uint8)[None].repeat(height, axis=0)


@pytest.mark.parametrize("name", ["n.tif", "n.png"])
def test_a_near_infrared_band_is_no_mask(tmp_path: Path, name: str) -> None:
    infrared = np.random.default_rng(1).integers(1, 200, (300, 700), dtype=np.uint8)
    infrared[:, 400:] = 0  # water
    path = four_bands(tmp_path / "n.tif", infrared)
    if name == "n.png":
        Image.fromarray(read_all(path).transpose(1, 2, 0).copy()).save(tmp_path / name)
    with opened_image(tmp_path / name) as dataset:
        assert ColorInterp.alpha not in dataset.colorinterp
        for region in (None, Region(390, 20, 100, 50)):
            pixels, valid = read_rgb(dataset, tmp_path / name, (4, 2, 1), region)
            part = region.toslices() if region else (slice(None), slice(None))
            assert valid.all()
            np.testing.assert_array_equal(pixels, read_all(path)[[3, 1, 0]].transpose(1, 2, 0)[part])


def test_a_soft_or_empty_alpha_is_a_mask(tmp_path: Path) -> None:
    for name, alpha in {"soft": soft_mask(40, 600), "empty": np.zeros((40, 600), np.uint8)}.items():
        path = four_bands(tmp_path / f"{name}.tif", alpha)
        with opened_image(path) as dataset:
            np.testing.assert_array_equal(read_rgb(dataset, path, (1, 2, 3))[1], alpha > 0)


def test_no_data_beside_an_alpha_that_is_no_mask(tmp_path: Path) -> None:
    infrared = np.random.default_rng(1).integers(0, 200, (40, 40), dtype=np.uint8)
    path = write_tif(tmp_path / "n.tif", np.concatenate([noise(40, 40), infrared[None]]), nodata=0)
    with rasterio.open(path, "r+") as file:
        empty = np.zeros((1, 3, 40), np.uint8)
        for band in (1, 2, 3, 4):
            file.write(empty[0], band, window=Region(0, 5, 40, 3))
    with opened_image(path) as dataset:
        valid = read_rgb(dataset, path, (1, 2, 3))[1]
    assert not valid[5:8].any() and valid[:5].all() and valid[8:].all()


def test_a_mask_of_one_bit_holds_no_classes(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8) > 0).save(tmp_path / "bit.png")
    write_tif(tmp_path / "bit.tif", np.eye(8, dtype=np.uint8)[None], nbits=1)
    write_tif(tmp_path / "fine.tif", np.eye(8, dtype=np.uint8)[None], nbits=4)
    for name in ("bit.png", "bit.tif"):
        with opened(tmp_path / name) as dataset, pytest.raises(DataError, match=rf"{name}: a mask of 1 bit"):
            check_mask(dataset, tmp_path / name)
    with opened(tmp_path / "fine.tif") as dataset:
        check_mask(dataset, tmp_path / "fine.tif")


def test_no_other_format_hides_behind_a_name(tmp_path: Path) -> None:
    """A VRT reads any file that it names, an ENVI header or a JPEG is not what the name says."""
    secret = write_tif(tmp_path / "secret.tif", noise(8, 8))
    with rasterio.open(secret) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / "vrt.tif", driver="VRT")
    Image.new("RGB", (8, 8)).save(tmp_path / "jpeg.tif", format="JPEG")
    for name in ("vrt.tif", "jpeg.tif"):
        with pytest.raises(DataError, match=rf"{name}: cannot be opened"):
            read(tmp_path / name)


def read_all(path: Path) -> np.ndarray:
    with opened(path) as dataset:
        return np.asarray(dataset.read())
