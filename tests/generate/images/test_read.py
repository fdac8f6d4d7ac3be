"""Images of other kinds than 8-bit RGB: named, with the mend."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image

from generate.errors import GenerateError
from generate.images.read import check_mask, open_raster, read_header, read_pixels

SIDE = 16


def pillow(mode: str, ending: str, folder: Path) -> Path:
    """A flat image of one of Pillow's modes."""
    path = folder / f"image.{ending}"
    Image.new(mode, (SIDE, SIDE)).save(path)
    return path


def raster(folder: Path, count: int, dtype: str) -> Path:
    """A GeoTIFF of some bands."""
    path = folder / "bands.tif"
    values = np.ones((count, SIDE, SIDE), dtype)
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": count, "dtype": dtype, "crs": "EPSG:32616"}
    with rasterio.open(path, "w", transform=rasterio.Affine(2, 0, 5, 0, -2, 7), **profile) as target:
        target.write(values)
    return path


def test_other_kinds_are_refused_with_the_mend(tmp_path: Path) -> None:
    """Each by its own words."""
    cut = tmp_path / "cut.png"
    cases = [
        (pillow("CMYK", "jpg", tmp_path), "CMYK colours.*Convert it to RGB"),
        (pillow("CMYK", "tif", tmp_path), "CMYK colours"),
        (pillow("L", "png", tmp_path), "1 band; expected 8-bit RGB"),
        (raster(tmp_path, 3, "uint16"), "3 bands of uint16.*gdal_translate -ot Byte -scale"),
    ]
    for path, message in cases:
        with pytest.raises(GenerateError, match=rf"{path.name}: an image with {message}"):
            read_header(path)
    with pytest.raises(GenerateError, match=r"a palette.*-expand rgb"):
        read_header(pillow("P", "png", tmp_path))
    with pytest.raises(GenerateError, match=r"an image with 5 bands.*-b 3 -b 2 -b 1"):
        read_header(raster(tmp_path, 5, "uint8"))
    cut.write_bytes((pillow("RGB", "png", tmp_path)).read_bytes()[:20])
    with pytest.raises(GenerateError, match=r"cut\.png: cannot be read as an image"):
        read_header(cut)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_damage_behind_an_intact_header(tmp_path: Path, ending: str) -> None:
    """A file that breaks off in its pixels is named, before or when they are read."""
    path = tmp_path / f"noise.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    read_header(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(GenerateError, match=rf"noise\.{ending}: .* (?i:download) it again"):
        read_header(path)
        read_pixels(path)


def test_a_flipped_bit_in_a_png(tmp_path: Path) -> None:
    """Its checksum tells."""
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(GenerateError, match=r"noise\.png: a PNG that is truncated or corrupt"):
        read_header(path)


def test_opacity_is_not_a_colour(tmp_path: Path) -> None:
    """RGBA gives its RGB."""
    path = tmp_path / "rgba.png"
    Image.new("RGBA", (SIDE, SIDE), (10, 20, 30, 0)).save(path)
    assert read_header(path).width == SIDE
    assert read_pixels(path)[0, 0].tolist() == [10, 20, 30]


def test_near_infrared_that_is_called_opacity(tmp_path: Path) -> None:
    """As GDAL calls the fourth band of 8 bits."""
    path = raster(tmp_path, 4, "uint8")
    assert read_header(path).width == SIDE  # the same value everywhere: a mask
    with rasterio.open(path, "r+") as target:
        target.write(np.arange(SIDE**2, dtype=np.uint8).reshape(SIDE, SIDE), 4)
    with pytest.raises(GenerateError, match=r"bands\.tif: an image with a fourth band .* -b 1 -b 2 -b 3"):
        read_header(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_lies_turned_in_its_file(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (SIDE, SIDE)).save(path, exif=exif)
    if orientation == 1:  # as it is
        assert read_header(path).driver == "JPEG"
    else:
        with pytest.raises(GenerateError, match=rf"turned\.jpg: an image with EXIF orientation {orientation}"):
            read_header(path)


def test_no_other_format_hides_behind_a_name(tmp_path: Path) -> None:
    """A VRT would read any file that it names."""
    raster(tmp_path, 3, "uint8")
    with rasterio.open(tmp_path / "bands.tif") as source:
        rasterio.shutil.copy(source, tmp_path / "vrt.tif", driver="VRT")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "bitmap.png", format="BMP")
    for name in ("vrt.tif", "bitmap.png"):
        with pytest.raises(GenerateError, match=rf"{name}: cannot be read as an image"):
            read_header(tmp_path / name)


def test_a_mask_of_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.eye(SIDE) > 0).save(tmp_path / "mask.png")
    with pytest.raises(GenerateError, match=r"mask\.png: a mask of 1 bit"):
        check_mask(tmp_path / "mask.png", read_header(pillow("RGB", "png", tmp_path)))


def test_blocks_of_a_row_are_kept(tmp_path: Path) -> None:
    """rasterio takes the size of GDAL's cache in bytes; without room for them each line decodes its blocks again."""
    with open_raster(pillow("RGB", "png", tmp_path)):
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] > 3 * 256 * 32_768
