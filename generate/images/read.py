"""The user's image files: headers, checks and pixels."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, PhotometricInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from data.imagery.geo import check_proj, locate_raster
from data.imagery.raster import GDAL_ERRORS, alpha_is_mask, is_one_bit, open_with
from data.schema import DAMAGE_VALUES
from generate.errors import GenerateError
from generate.inputs import Pixels

FORMATS = ("PNG", "JPEG", "GTiff")
READ_BYTES = 1 << 20
MASK_ROWS = 512  # of a mask that are checked at once
MASK_VALUES = (0, *DAMAGE_VALUES.values())
# GDAL's default grows with the machine's memory; windows are read once or from a small scratch file.
GDAL_CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ImageHeader:
    """An 8-bit RGB image, with or without alpha."""

    path: Path
    width: int
    height: int
    driver: str  # one of FORMATS
    pixel_size_m: float | None = None  # on the ground, of a GeoTIFF with coordinates
    mask: Path | None = None  # its damage mask, from `check_mask`


@contextmanager
def open_raster(path: Path) -> Iterator[DatasetReader]:
    """Open with rasterio, leaving no .aux.xml files behind.

    Raises:
        GenerateError: the file does not exist or cannot be read as an image.
    """
    if not os.path.isfile(path):  # false for invalid paths too
        raise GenerateError(f"{path}: no such file. Expected a PNG, JPEG or GeoTIFF image, or a built dataset.")
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES, GDAL_PAM_ENABLED=False):
        try:
            source = open_with(path, FORMATS)
        except GDAL_ERRORS as error:
            raise _unreadable(path, error) from None
        with source:
            if source.driver == "GTiff":
                check_proj()  # its CRS is copied
            yield source


@contextmanager
def writing_raster(path: Path) -> Iterator[None]:
    """Turn rasterio's write errors within the block into one message.

    Raises:
        GenerateError: naming the file.
    """
    try:
        yield
    except RasterioError as error:
        raise GenerateError(
            f"{path}: could not be written ({error.__cause__ or error}). Free some space or change the folder's "
            "permissions, then run the same command again."
        ) from error


def read_header(path: Path) -> ImageHeader:
    """Read an image file's header; only samples of its alpha are decoded.

    Raises:
        GenerateError: unreadable, or not 8-bit RGB; the message names the fix.
    """
    with open_raster(path) as source:
        kind = None
        if set(source.dtypes) != {"uint8"}:
            kind = f"{source.count} bands of {', '.join(sorted(set(source.dtypes)))}"
            fix = "Scale it to 8 bits first: gdal_translate -ot Byte -scale, with the range of your training images."
        elif source.photometric == PhotometricInterp.cmyk:
            kind, fix = "CMYK colours", "Convert it to RGB."
        elif source.count == 1 and source.colorinterp[0] == ColorInterp.palette:
            kind, fix = "a palette", "Convert it to RGB: gdal_translate -expand rgb."
        elif source.count < 3:
            kind, fix = (
                f"{source.count} band{'s' * (source.count > 1)}",
                "The checkpoint was trained on colour images.",
            )
        elif source.count > 4 or (source.count == 4 and source.colorinterp[3] != ColorInterp.alpha):
            kind = f"{source.count} bands"
            fix = "Write red, green and blue only, in this order: gdal_translate -b 3 -b 2 -b 1 (or your order)."
        elif source.count == 4 and not alpha_is_mask(source, path):
            kind = "a fourth band marked as alpha that holds many values"
            fix = "Near infrared? Drop it: gdal_translate -b 1 -b 2 -b 3."
        elif (turn := source.tags().get("EXIF_Orientation", "1")) not in ("0", "1"):
            kind = f"EXIF orientation {turn}, so its pixels are stored rotated or mirrored"
            fix = "Apply the rotation to the pixels: mogrify -auto-orient."
        if kind:
            raise GenerateError(f"{path}: an image with {kind}; expected 8-bit RGB. {fix}")
        header = ImageHeader(path, source.width, source.height, source.driver, _pixel_size_m(source))
    if header.driver == "PNG" and (fault := _png_fault(path)):
        raise GenerateError(f"{path}: a PNG that is {fault}. Download it again.")
    return header


def _pixel_size_m(source: DatasetReader) -> float | None:
    if source.crs is None or source.transform.is_identity:
        return None
    place = locate_raster(source.transform, source.crs.to_wkt(), source.width, source.height)
    return place.pixel_size_m if place and place.pixel_size_m > 0 else None


def check_mask(path: Path, image: ImageHeader) -> None:
    """Stop unless a damage mask fits an image.

    Raises:
        GenerateError: unreadable, not 8-bit grey, of another size, or with other values than a damage mask has.
    """
    with open_raster(path) as mask:
        if (mask.count, mask.dtypes[0]) != (1, "uint8"):
            found = f"{mask.count} band{'s' * (mask.count > 1)} of {mask.dtypes[0]}"
            raise GenerateError(f"{path}: a mask with {found}; expected one band of uint8 (8-bit grey).")
        if is_one_bit(mask):
            raise GenerateError(f"{path}: a mask of 1 bit, which cannot hold the classes 0 to 4. Write it in 8 bits.")
        if (mask.width, mask.height) != (image.width, image.height):
            raise GenerateError(
                f"{path}: a mask of {mask.width} x {mask.height} px, but {image.path} has {image.width} x "
                f"{image.height}. Every pixel of the image needs a class."
            )
        if mask.driver == "PNG" and (fault := _png_fault(path)):
            raise GenerateError(f"{path}: a PNG that is {fault}. Write it again.")
        for top in range(0, mask.height, MASK_ROWS):
            strip = read_classes(mask, Window(0, top, mask.width, min(MASK_ROWS, mask.height - top)))
            if strange := sorted(set(np.unique(strip).tolist()) - set(MASK_VALUES)):
                raise GenerateError(
                    f"{path}: contains the value {strange[0]}; a damage mask has 0 (background), 1 (no damage), "
                    "2 (minor), 3 (major), 4 (destroyed), 255 (unknown)."
                )


def read_classes(mask: DatasetReader, window: Window) -> NDArray[np.uint8]:
    """A window of a damage mask, (rows, columns)."""
    try:
        return np.asarray(mask.read(1, window=window))
    except RasterioError as error:
        raise _unreadable(Path(mask.name), error) from None


def read_pixels(path: Path) -> Pixels:
    """The whole image, (height, width, 3); alpha is ignored."""
    with open_raster(path) as source:
        return read_rgb(source, Window(0, 0, source.width, source.height))


def read_rgb(source: DatasetReader, window: Window) -> Pixels:
    """A window of an image, (rows, columns, 3).

    Raises:
        GenerateError: the file is damaged there.
    """
    try:
        return np.ascontiguousarray(source.read((1, 2, 3), window=window).transpose(1, 2, 0))
    except RasterioError as error:
        raise _unreadable(Path(source.name), error) from None


def _png_fault(path: Path) -> str | None:
    """What is wrong with the chunks of a PNG: GDAL silently reads missing pixels as black."""
    with path.open("rb") as file:
        file.seek(8)  # the signature
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            checksum = zlib.crc32(kind)
            for start in range(0, length, READ_BYTES):
                checksum = zlib.crc32(file.read(min(READ_BYTES, length - start)), checksum)
            if file.read(4) != struct.pack(">I", checksum):
                return "truncated or corrupt"
            if kind == b"IEND":
                return None
    return "truncated"


def _unreadable(path: Path, error: RasterioError) -> GenerateError:
    return GenerateError(
        f"{path}: cannot be read as an image ({error.__cause__ or error}). Truncated, or not a PNG, JPEG or GeoTIFF: "
        "download it again."
    )
