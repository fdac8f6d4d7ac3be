"""Images that visitors bring: what is refused before it is decoded, and small copies that a browser can show."""

from pathlib import Path

import numpy as np
from PIL import Image
from rasterio.enums import Resampling

from app.errors import AppError
from generate.errors import GenerateError
from generate.images.read import ImageHeader, open_raster, read_header
from generate.inputs import Pixels

MOST_BYTES = 64 << 20  # of an upload
MOST_PIXELS = 4096 * 4096
MOST_BLOCK_BYTES = 256 << 20  # the least that can be read of a GeoTIFF
SHOWN_PX = 1024  # longer side of what the page shows


def check_upload(path: Path) -> ImageHeader:
    """The header of an image that may be generated from; nothing of it is decoded if it is too large.

    Raises:
        AppError: too large.
        GenerateError: no image, or of a kind that no checkpoint was trained on.
    """
    if not path.is_file():
        raise AppError(f"{path.name}: the upload is gone. Upload it again.")
    if path.stat().st_size > MOST_BYTES:
        raise AppError(f"{path.name}: {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}. Cut out a part.")
    try:
        with open_raster(path) as source:
            width, height = source.width, source.height
            if width * height > MOST_PIXELS:
                raise AppError(
                    f"{path.name}: {width:,} x {height:,} px are {width * height / 1e6:.0f} megapixels; expected at "
                    f"most {MOST_PIXELS / 1e6:.0f}. Cut out a part, or use `pre2post generate`, which has no limit."
                )
            rows, columns = max(source.block_shapes)
            if rows * columns * source.count > MOST_BLOCK_BYTES:
                raise AppError(f"{path.name}: blocks of {columns:,} x {rows:,} px; write it in smaller ones.")
        return read_header(path)
    except GenerateError as error:
        raise GenerateError(str(error).replace(str(path), path.name)) from None


def has_place(path: Path) -> bool:
    """Whether a GeoTIFF says where on the ground it lies."""
    with open_raster(path) as source:
        return source.crs is not None or bool(source.gcps[0])


def shown(path: Path) -> Pixels:
    """(height, width, 3) of an image, reduced so that a browser shows it at once.

    Raises:
        GenerateError: it is damaged.
    """
    with open_raster(path) as source:
        factor = max(1, -(-max(source.width, source.height) // SHOWN_PX))
        size = (3, -(-source.height // factor), -(-source.width // factor))
        try:
            pixels = source.read((1, 2, 3), out_shape=size, resampling=Resampling.average)
        except Exception as error:  # GDAL raises many kinds for damaged files
            raise GenerateError(f"{path.name}: cannot be read to its end ({error}). Download it again.") from None
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def write_shown(path: Path, folder: Path) -> Path:
    """A PNG that a browser can show: the file itself if it is a small one, else a reduced copy in `folder`."""
    with open_raster(path) as source:
        if source.driver != "GTiff" and max(source.width, source.height) <= SHOWN_PX:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{path.stem}.png"
    Image.fromarray(shown(path)).save(copy, format="PNG")
    return copy
