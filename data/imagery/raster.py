"""Read 8- and 16-bit PNG and GeoTIFF files by windows: never more of a file than is requested."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as Region

from data.errors import DataError
from data.files import check_regular, unreadable

Bands = tuple[int, int, int]  # which bands are red, green, blue; 1 is the first, as in GDAL
View: TypeAlias = DatasetReader | WarpedVRT  # a file, or a file on another grid
Named: TypeAlias = Path | str  # what errors call it: a path, or an address
Mask = NDArray[np.bool_]

DRIVERS = {".png": "PNG", ".tif": "GTiff", ".tiff": "GTiff"}  # GDAL has a hundred, some of which fetch other files
GDAL_ERRORS = (RasterioError, CPLE_BaseError)  # rasterio turns most of GDAL's errors into its own, not all
DTYPES = ("uint8", "uint16", "int16")
REAL_DTYPES = (*DTYPES, "int8", "uint32", "int32", "float32", "float64")  # where a range is stated for them
CACHE_BYTES = 64 << 20  # of decoded blocks; GDAL would take a twentieth of the machine's memory
MOST_PNG_PX = 8192 * 8192  # a PNG has no windows: reaching its last row means to decode all of it
MOST_BLOCK_BYTES = 256 << 20  # a block is the least that can be read of a GeoTIFF
ALPHA_SAMPLES = 4  # along each axis
ALPHA_SAMPLE_PX = 256
ALPHA_SHARE = 0.9  # of the pixels that are not 0; a mask may be soft at its edges
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# No PNG has a georeference. Once and for all: files are opened in threads, and catch_warnings knows none.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


def parse_bands(text: str) -> Bands:
    """`5,3,2` as numbers."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise DataError(f"bands is {text!r}; expected the three bands for red, green, blue, e.g. 1,2,3 or 5,3,2.")
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def open_with(name: Path | str, drivers: Sequence[str]) -> DatasetReader:
    """The file, opened by one of these GDAL drivers only."""
    with rasterio.Env():
        return DatasetReader(name, driver=list(drivers))  # rasterio.open takes one driver only


@contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """The open file, checked to be whole (PNG) and readable by windows; nothing but its header is decoded yet."""
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise DataError(f"{path}: neither PNG nor GeoTIFF. Expected a name that ends in {', '.join(DRIVERS)}.")
    check_regular(path)
    if driver == "PNG":
        _check_png(path)
    with opened_by(driver, path, path) as dataset:
        yield dataset


@contextmanager
def opened_by(driver: str, name: Named, path: Named) -> Iterator[DatasetReader]:
    """What GDAL finds under a name with one of its drivers, readable by windows; `path` is named in errors."""
    # Without listing the folder at every open: it may hold 20 000 files.
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
        try:
            dataset = open_with(name, [driver])
        except (*GDAL_ERRORS, UnicodeEncodeError) as error:
            raise DataError(
                f"{path}: cannot be opened ({error}). Truncated or not a {driver}: fetch it again."
            ) from None
        with dataset:
            _check_size(dataset, path)
            yield dataset


@contextmanager
def opened_image(path: Path) -> Iterator[DatasetReader]:
    """As `opened`, but an alpha band that is not a mask is treated as an ordinary band."""
    with opened(path) as dataset, masked_rightly(dataset, path) as plain:
        yield plain


@contextmanager
def masked_rightly(dataset: DatasetReader, path: Named) -> Iterator[DatasetReader]:
    """The open file, an alpha band that is not a mask being an ordinary band."""
    if ColorInterp.alpha not in dataset.colorinterp or alpha_is_mask(dataset, path):
        yield dataset
        return
    # GDAL masks by an alpha band wherever it reads or warps, so the file is read through a description without one.
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(dataset, memory.name, driver="VRT")
        described = memory.read().decode().replace("<ColorInterp>Alpha</ColorInterp>", "")
    with open_with(described, ["VRT"]) as plain:
        yield plain


def alpha_is_mask(dataset: DatasetReader, path: Named) -> bool:
    """Whether the alpha band marks valid data: apart from 0 it has one value nearly everywhere.

    GDAL labels the fourth band of an 8-bit file alpha by default, and often that is the near infrared.
    """
    band = dataset.colorinterp.index(ColorInterp.alpha) + 1
    height, width = (min(side, ALPHA_SAMPLE_PX) for side in dataset.shape)
    tops = np.linspace(0, dataset.height - height, ALPHA_SAMPLES).astype(int)
    lefts = np.linspace(0, dataset.width - width, ALPHA_SAMPLES).astype(int)
    regions = [Region(left, top, width, height) for top in np.unique(tops) for left in np.unique(lefts)]
    seen = np.concatenate([_read(dataset, path, band, region).ravel() for region in regions])
    counts = np.unique(seen[seen > 0], return_counts=True)[1]
    return not counts.size or bool(counts.max() >= ALPHA_SHARE * counts.sum())


def read_rgb(
    view: View, path: Named, bands: Bands, region: Region | None = None, dtypes: Sequence[str] = DTYPES
) -> tuple[NDArray[Any], Mask]:
    """(height, width, 3) in the file's own type, and where it holds data; `path` is named in errors."""
    check_bands(view, path, bands, dtypes)
    height, width = (int(region.height), int(region.width)) if region else view.shape
    pixels = np.empty((height, width, 3), view.dtypes[bands[0] - 1])
    # In the order of the files: read band by band and transposed afterwards, it would take half as long again.
    _read(view, path, list(bands), region, pixels.transpose(2, 0, 1))
    return pixels, _valid(view, path, bands, region, (height, width))


def read_single(view: View, path: Path, region: Region | None = None) -> NDArray[np.uint8]:
    """(height, width) of a mask."""
    return np.asarray(_read(view, path, 1, region), np.uint8)


def check_mask(dataset: DatasetReader, path: Path) -> None:
    """Stop on a file that cannot hold a mask of classes."""
    if (dataset.count, dataset.dtypes[0]) != (1, "uint8"):
        found = f"{dataset.count} bands of {dataset.dtypes[0]}"
        raise DataError(f"{path}: {found}, expected a mask: one band of uint8 (8-bit grey).")
    if is_one_bit(dataset):
        raise DataError(f"{path}: a mask of 1 bit, which cannot hold the classes 0 to 4. Write them in 8 bits.")


def is_one_bit(dataset: DatasetReader) -> bool:
    """Whether the first band holds 0 and 1 only: GDAL reads it as bytes nevertheless."""
    return bool(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1")


def check_bands(view: View, path: Named, bands: Bands, dtypes: Sequence[str] = DTYPES) -> None:
    """Stop on a file that lacks one of the three bands, or whose values are not of one of the types."""
    if view.count < max(bands):
        wanted = ",".join(str(band) for band in bands)
        if ColorInterp.palette in view.colorinterp:
            advice = "Expand its colour table: gdal_translate -expand rgb"
        elif view.count == 1:
            advice = (
                "A grey image cannot be paired with a colour one; where pre and post are both grey, give --bands 1,1,1"
            )
        else:
            advice = "Choose others with --bands"
        raise DataError(f"{path}: has {_bands(view.count)}, but --bands {wanted} needs {max(bands)}. {advice}.")
    for band in bands:
        dtype, meaning = view.dtypes[band - 1], view.colorinterp[band - 1]
        if dtype not in dtypes:
            raise DataError(
                f"{path}: band {band} holds {dtype}, expected {', '.join(dtypes)}. "
                "Convert it, pre and post alike: gdal_translate -ot UInt16 -scale LOW HIGH 1 65535."
            )
        if meaning == ColorInterp.alpha:
            raise DataError(f"{path}: band {band} is its transparency, not a colour. Choose others with --bands.")


def _check_png(path: Path) -> None:
    """GDAL fills the missing part of a PNG with black, so check its chunks up to the last one."""
    try:
        with path.open("rb") as file:
            whole = file.read(8) == _PNG_SIGNATURE
            kind = b""
            while whole and kind != b"IEND":
                head = file.read(8)
                length, kind = int.from_bytes(head[:4], "big"), head[4:]
                whole = len(head) == 8 and length < 1 << 31
                if whole and kind != b"IEND":
                    file.seek(length + 4, 1)  # and its check sum
            whole = whole and len(file.read(4)) == 4
    except OSError as error:
        raise unreadable(path, error) from None
    if not whole:
        raise DataError(f"{path}: cannot be decoded (its end is missing). Truncated or not a PNG: fetch it again.")


def _check_size(dataset: DatasetReader, path: Named) -> None:
    tiled = "Store it in tiles: gdal_translate -of GTiff -co TILED=YES -co COMPRESS=DEFLATE."
    if dataset.driver == "PNG" and dataset.width * dataset.height > MOST_PNG_PX:
        raise DataError(f"{path}: {dataset.width} x {dataset.height} px are too many for a PNG. {tiled}")
    rows, cols = dataset.block_shapes[0]
    together = dataset.count if dataset.interleaving is not None and dataset.interleaving.name == "pixel" else 1
    if (size := rows * cols * np.dtype(dataset.dtypes[0]).itemsize * together) > MOST_BLOCK_BYTES:
        raise DataError(f"{path}: its blocks of {cols} x {rows} px take {size / 2**20:,.0f} MB each. {tiled}")


def _read(
    view: View, path: Named, bands: list[int] | int, region: Region | None, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    try:
        return np.asarray(view.read(bands, window=region, out=out))
    except GDAL_ERRORS as error:
        reason = error.__cause__ or error
        raise DataError(f"{path}: cannot be decoded ({reason}). Truncated or damaged: fetch it again.") from None


def _valid(view: View, path: Named, bands: Bands, region: Region | None, shape: tuple[int, ...]) -> Mask:
    """From the alpha band, else the mask of a GeoTIFF, or its no-data value in all of `bands`.

    Most xBD PNGs mark black as transparent (tRNS), shadows as well as missing ground: that is ignored.
    """
    if ColorInterp.alpha in view.colorinterp:
        return np.asarray(_read(view, path, view.colorinterp.index(ColorInterp.alpha) + 1, region) > 0)
    if view.driver == "PNG" or all(MaskFlags.all_valid in flags for flags in view.mask_flag_enums):
        return np.ones(shape, np.bool_)
    try:
        return np.asarray(view.read_masks(bands, window=region).any(axis=0))
    except GDAL_ERRORS as error:
        raise DataError(f"{path}: its mask cannot be decoded ({error.__cause__ or error}). Fetch it again.") from None


def _bands(count: int) -> str:
    return f"{count} band{'s' * (count != 1)}"
