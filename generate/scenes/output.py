"""From the latents of a scene to a file on the grid of its pre image, strip by strip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import torch
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window
from torch import Tensor

from data.dataset.processes import Processes
from generate.generator import Generator
from generate.images.read import open_raster, writing_raster
from generate.inputs import Pixels
from generate.processes import in_turn
from generate.scenes.windows import Grid, weight_sums, weights
from generate.stamp import tags
from generate.watermark import marked, tile_side
from models.images import decode, to_unit

BLOCK_PX = 256


def write_scene(
    generator: Generator,
    latents: Tensor,
    grid: Grid,
    factor: int,
    pre: Path,
    out: Path,
    made: dict[str, Any],
    watermark: bool,
    team: Processes,
) -> None:
    """Decode and write a scene.

    Args:
        generator: its VAE decodes.
        latents: from `denoise_scene`.
        grid: the windows over the latents.
        factor: scene pixels per network pixel.
        pre: the pre image: its size, CRS, transform and nodata areas are used.
        out: a GeoTIFF if `pre` is one, else a PNG.
        made: written into the file's tags.
        watermark: overlay the word SYNTHETIC.
        team: the processes that decode; the first writes.
    """
    strips = _strips(generator, latents, grid, factor, team)
    if not team.is_main:
        for _ in strips:
            pass
        return
    with open_raster(pre) as source, writing_raster(out):
        as_png = source.driver != "GTiff"
        tiff = out.with_name(f"{out.stem}.raster.partial") if as_png else out
        try:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tiff, "w", **_profile(source)) as target:
                _copy_georeference(source, target)
                target.update_tags(**tags(made))
                _write_strips(strips, source, target, watermark)
            if as_png:
                rasterio.shutil.copy(tiff, out, driver="PNG", WRITE_METADATA_AS_TEXT="YES")
        finally:
            if as_png:
                tiff.unlink(missing_ok=True)


@torch.inference_mode()
def _strips(
    generator: Generator, latents: Tensor, grid: Grid, factor: int, team: Processes
) -> Iterator[NDArray[np.float32]]:
    """Finished rows of the scene from top to bottom, (rows, width, 3) in [0, 1].

    Decoders normalise over their whole input, so neighbouring windows differ slightly in tone: pixels are blended too.
    """
    pixels = grid.scaled(generator.cell_px * factor)
    window_weight = np.outer(weights(pixels.side), weights(pixels.side))[..., None]
    row_sum, column_sum = (weight_sums(length, pixels.side, pixels.stride) for length in (pixels.height, pixels.width))

    def window(places: list[tuple[int, int]]) -> Tensor:
        ((top, left),) = places
        crop = latents[..., top : top + grid.side, left : left + grid.side]
        return _at_scale(decode(generator.vae, crop), factor)

    decoded = in_turn([[place] for place in grid], window, team)
    open_rows = np.zeros((pixels.side, pixels.width, 3), np.float32)
    ends = [*pixels.tops[1:], pixels.height]
    for pixel_top, end in zip(pixels.tops, ends, strict=True):
        for pixel_left in pixels.lefts:
            (image,) = to_unit(next(decoded)[1])
            open_rows[:, pixel_left : pixel_left + pixels.side] += window_weight * image
        done = end - pixel_top
        rows = row_sum[pixel_top:end, None, None]
        yield open_rows[:done] / (rows * column_sum[None, :, None])
        open_rows[: pixels.side - done] = open_rows[done:].copy()
        open_rows[pixels.side - done :] = 0


def _at_scale(decoded: Tensor, factor: int) -> Tensor:
    """A decoded window, each pixel repeated to `factor` x `factor` px of the scene."""
    if factor == 1:
        return decoded
    return torch.nn.functional.interpolate(decoded, scale_factor=factor, mode="bicubic", align_corners=False)


def _write_strips(
    strips: Iterator[NDArray[np.float32]],
    source: DatasetReader,
    target: Any,  # noqa: ANN401  # rasterio's writer
    watermark: bool,
) -> None:
    top, tile = 0, tile_side(source.width, source.height)
    # As `build` reads them: the colour that a PNG declares transparent is data. Nor could a PNG hold a mask.
    as_tiff = source.driver == "GTiff"
    declared = any(MaskFlags.all_valid not in flags for flags in source.mask_flag_enums[:3])
    missing_data = declared and (as_tiff or ColorInterp.alpha in source.colorinterp)
    for strip in strips:
        rows = min(len(strip), source.height - top)
        pixels: Pixels = (strip[:rows, : source.width] * 255).round().astype(np.uint8)
        if watermark:
            pixels = marked(pixels, top, tile)
        window = Window(0, top, source.width, rows)
        if missing_data:
            mask = source.dataset_mask(window=window)
            pixels = pixels * (mask > 0)[..., None]
            if as_tiff:
                target.write_mask(mask, window=window)
        target.write(pixels.transpose(2, 0, 1), window=window)
        top += rows


def _profile(source: DatasetReader) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "width": source.width,
        "height": source.height,
        "count": 3,
        "dtype": "uint8",
        "photometric": "RGB",
        "interleave": "pixel",
        "compress": "deflate",
        "predictor": 2,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "BIGTIFF": "IF_SAFER",
    }


def _copy_georeference(source: DatasetReader, target: Any) -> None:  # noqa: ANN401  # rasterio's writer
    """Copy CRS and transform exactly, or ground control points where the scene has those instead."""
    points, crs = source.gcps
    if points:
        target.gcps = (points, crs)
    elif source.crs is not None or not source.transform.is_identity:
        target.crs, target.transform = source.crs, source.transform
