"""The images that a region of a plan names: GeoTIFFs, VRTs, the items of STAC collections, here or at an address."""

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.io import DatasetReader

from data.documents import MAX_BYTES
from data.files import check_regular, read_file
from data.imagery.raster import masked_rightly, opened_by
from generate.errors import GenerateError
from generate.region.plan import Region
from generate.region.remote import GDAL_OPTIONS, ends_of, is_address
from generate.region.stac import assets_on_disk, assets_online

TIFFS = (".tif", ".tiff")
ENDS_BYTES = 1 << 17  # of a file that tell one version from another; a mosaic of a country is not hashed whole


@dataclass(frozen=True)
class Image:
    """An image of a region."""

    where: Path | str  # on disk, or its address
    name: str  # as the plan finds it; without the query of an address, which may hold a key


@contextmanager
def opened(image: Image) -> Iterator[DatasetReader]:
    """The open image; an alpha band that is not a mask is an ordinary band.

    Raises:
        DataError, GenerateError: it cannot be opened, or is a VRT of anything but GeoTIFFs on disk.
    """
    where, driver, options = image.where, "GTiff", {}
    if isinstance(where, str):
        name, options = f"/vsicurl/{where}", GDAL_OPTIONS
    else:
        check_regular(where)
        name = str(where)
        if where.suffix.lower() == ".vrt":
            driver = "VRT"
            _members(where)
    with rasterio.Env(**options), opened_by(driver, name, image.name) as dataset:
        with masked_rightly(dataset, image.name) as plain:
            yield plain


def identity(image: Image) -> str:
    """Tells whether an image was replaced: its size and both its ends, for a VRT those of all its images."""
    where = image.where
    if isinstance(where, str):
        return hashlib.sha256(ends_of(where, ENDS_BYTES)).hexdigest()
    if where.suffix.lower() == ".vrt":
        found = hashlib.sha256(read_file(where))
        for member in _members(where):
            found.update(file_identity(member).encode())
        return found.hexdigest()
    return file_identity(where)


def file_identity(path: Path) -> str:
    """Of a file: its size and both its ends."""
    check_regular(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(ENDS_BYTES)
        file.seek(max(0, size - ENDS_BYTES))
        return hashlib.sha256(f"{size}".encode() + head + file.read(ENDS_BYTES)).hexdigest()


def images_of(region: Region, folder: Path) -> list[Image]:
    """The images of a region, in the order of their names; paths are relative to `folder`.

    Raises:
        GenerateError: there are none, or they cannot be listed.
    """
    if "{" in region.imagery:
        raise GenerateError(
            f"imagery is {region.imagery!r}: XYZ tiles are not read. Name GeoTIFFs, or a STAC item collection."
        )
    if is_address(region.imagery):
        return [Image(address, address.partition("?")[0]) for address in assets_online(region.imagery)]
    if "://" in region.imagery:
        raise GenerateError(f"imagery is {region.imagery!r}: expected a path, or an address of http or https.")
    wanted = folder / region.imagery
    if wanted.suffix.lower() == ".json":
        return [
            Image(href, href.partition("?")[0]) if is_address(href) else Image(wanted.parent / href, href)
            for href in assets_on_disk(wanted)
        ]
    if wanted.is_dir():
        paths = [path for path in wanted.iterdir() if path.suffix.lower() in TIFFS]
    elif wanted.is_file():
        paths = [wanted]
    else:
        paths = [path for path in folder.glob(region.imagery) if path.suffix.lower() in (*TIFFS, ".vrt")]
    if not paths:
        raise GenerateError(f"imagery {region.imagery}: no GeoTIFF found in {folder}. Paths are relative to the plan.")
    if unknown := [path for path in paths if path.suffix.lower() not in (*TIFFS, ".vrt")]:
        raise GenerateError(f"{unknown[0]}: expected a GeoTIFF (.tif), a .vrt, or a STAC item collection (.json).")
    inside = [path for path in sorted(paths) if path.is_relative_to(folder)]
    return [Image(path, path.relative_to(folder).as_posix()) for path in inside] or [
        Image(path, path.as_posix()) for path in sorted(paths)
    ]


def _members(path: Path) -> list[Path]:
    """The images of a VRT, which may name anything that GDAL reads, compute, and fetch: nothing but GeoTIFFs passes."""
    advice = "Expected what gdalbuildvrt writes of GeoTIFFs on this disk."
    if (size := path.stat().st_size) > MAX_BYTES:
        raise GenerateError(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}. {advice}")
    try:
        root = ET.fromstring(read_file(path))
    except ET.ParseError as error:
        raise GenerateError(f"{path}: is not a VRT ({error}). {advice}") from None
    for element in root.iter():
        kind = element.get("subClass", "VRTSourcedRasterBand")
        if kind != "VRTSourcedRasterBand" or element.tag in ("PixelFunctionType", "OpenOptions", "SourceDataset"):
            raise GenerateError(f"{path}: has {kind if element.get('subClass') else element.tag}. {advice}")
    found: dict[Path, None] = {}
    for element in root.iter("SourceFilename"):
        name = (element.text or "").strip()
        member = path.parent / name if element.get("relativeToVRT") == "1" else Path(name)
        if member.suffix.lower() not in TIFFS or "://" in name or (not member.is_absolute() and not member.is_file()):
            raise GenerateError(f"{path}: names {name[:200]!r}. {advice}")
        if not member.is_file():
            raise GenerateError(f"{path}: {member} is not there. {advice}")
        found[member] = None
    return list(found)
