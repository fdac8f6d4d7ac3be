"""Decode the PNGs of a release to plain RGB or grey arrays, and encode patches."""

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.errors import DataError

# Two per cent larger than level 6, and written three times as fast: most of a build's time is spent here.
PNG_COMPRESS_LEVEL = 3


def decode_rgb(content: bytes, path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) uint8. Most xBD files mark (0, 0, 0) as transparent (tRNS): that is ignored."""
    image = _decode(content, path)
    if image.mode not in ("RGB", "RGBA"):
        raise DataError(f"{path}: an image of mode {image.mode}, expected 8-bit RGB. Convert it to an RGB PNG.")
    return np.asarray(image)[..., :3]


def transparent_pixels(content: bytes, path: Path) -> NDArray[np.bool_] | None:
    """Where an RGBA image has no opacity: masked out by whoever made it. None if no such mask comes with the file."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "RGBA":
            return None  # told by the header alone
    return np.asarray(np.asarray(_decode(content, path))[..., 3] == 0)


def decode_grey(content: bytes, path: Path) -> NDArray[np.uint8]:
    """(height, width) uint8."""
    image = _decode(content, path)
    if image.mode != "L":
        raise DataError(f"{path}: an image of mode {image.mode}, expected 8-bit grey (mode L).")
    return np.asarray(image)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an RGB or grey array, with no other chunk than the pixels need."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()


def _decode(content: bytes, path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
        image.load()  # the whole file: a cut file fails here and not in training
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels for a PNG ({error}).") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}). Cut short or not a PNG: fetch it again.") from None
    return image
