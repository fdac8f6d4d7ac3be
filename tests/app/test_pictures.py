"""Hostile uploads: one message each, before anything large is decoded."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from app.errors import AppError
from app.pictures import MOST_BYTES, check_upload, has_place, shown, write_shown
from generate.errors import GenerateError
from generate.images.read import read_pixels
from tests.generate.scenes.test_scene import write_geotiff


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_bomb(path: Path, side: int = 14_143) -> Path:
    """A black PNG of 200 megapixels in 600 KB, correct to the last byte."""
    lines = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    data = b"".join(lines.compress(row) for _ in range(side)) + lines.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def write_hostile(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> a file, and what is said of it."""
    bomb = write_bomb(folder / "bomb.png")
    with zipfile.ZipFile(folder / "zip.png", "w") as archive:
        archive.writestr("a.png", "x")
    (folder / "text.png").write_text("<svg onload=alert(1)>")
    Image.new("CMYK", (32, 32)).save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(folder / "deep.png")
    tiles = {"driver": "GTiff", "width": 16, "height": 16, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(folder / "tile.tif", "w", blockxsize=16384, blockysize=16384, sparse_ok=True, **tiles):
        pass
    with (folder / "large.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    return {
        "bomb": (bomb, "are 200 megapixels; expected at most 17"),
        "zip": (folder / "zip.png", "cannot be read as an image"),
        "text": (folder / "text.png", "cannot be read as an image"),
        "cmyk": (folder / "cmyk.jpg", "CMYK"),
        "deep": (folder / "deep.png", "uint16"),
        "tile": (folder / "tile.tif", "blocks of 16,384 x 16,384 px"),
        "large": (folder / "large.png", "67,108,865 bytes"),
        "gone": (folder / "gone.png", "the upload is gone"),
    }


@pytest.fixture(scope="module")
def hostile_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    return write_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("name", ["bomb", "zip", "text", "cmyk", "deep", "tile", "large", "gone"])
def test_hostile_uploads_are_refused(name: str, hostile_files: dict[str, tuple[Path, str]]) -> None:
    """By name, without the server's folders."""
    path, said = hostile_files[name]
    with pytest.raises((AppError, GenerateError)) as raised:
        check_upload(path)
    assert said in str(raised.value) and path.name in str(raised.value)
    assert str(path.parent) not in str(raised.value)


def test_a_geotiff_says_whether_it_has_a_place(tmp_path: Path) -> None:
    placed = write_geotiff(tmp_path / "placed.tif", 40, 40)
    plain = tmp_path / "plain.tif"
    Image.fromarray(read_pixels(placed)).save(plain)
    assert check_upload(plain).driver == "GTiff"
    assert has_place(placed) and not has_place(plain)


def test_large_images_are_shown_reduced(tmp_path: Path) -> None:
    """Blocks of 2 x 2 are averaged; a PNG that fits is shown as it is, a GeoTIFF as a PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 2000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    blocks = pixels.reshape(10, 2, 1000, 2, 3).mean((1, 3))
    assert np.abs(shown(tmp_path / "wide.png") - blocks).max() <= 0.5
    assert read_pixels(write_shown(tmp_path / "wide.png", tmp_path / "copies")).shape == (10, 1000, 3)
    Image.fromarray(pixels[:, :50]).save(tmp_path / "small.png")
    assert write_shown(tmp_path / "small.png", tmp_path / "copies") == tmp_path / "small.png"
    copy = write_shown(write_geotiff(tmp_path / "small.tif", 30, 40), tmp_path / "copies")
    assert copy.suffix == ".png" and np.array_equal(read_pixels(copy), read_pixels(tmp_path / "small.tif"))
