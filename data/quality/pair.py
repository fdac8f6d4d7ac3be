"""All quality columns of the patches of one scene; what they share is computed once."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from data.patches.tiles import Window, grid
from data.quality.alignment import move_image, worth_moving
from data.quality.cloud import Sky, skies
from data.quality.duplicates import perceptual_hash
from data.quality.image import Floats, Mask, Pixels, nodata_mask, sharpness, tone
from data.quality.registration import (
    UNKNOWN_SHIFT,
    Edges,
    Shift,
    cross_spectrum,
    estimate_shift,
    grey,
    shift_of,
    step_of,
    window_edges,
)
from data.sources.labels import Phase

LEAST_WINDOW_PX = 256  # smaller patches are too small to register a scene by
# A patch whose own estimate is farther than this from a confident scene has most likely matched something else.
# Buildings lean with the view: two pixels are usual.
LARGEST_CONTRADICTION_PX = 3.0
NOT_MOVED = Shift(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pair:
    """A pre and a post image of one size, and what has been measured in the whole of them."""

    images: dict[Phase, Pixels]
    nodata: dict[Phase, Mask]
    brightness: dict[Phase, Floats]
    edges: dict[Phase, Edges]  # at the step that patches need
    step_px: int  # of the edges
    spectra: dict[Window, Edges]  # cross spectra of edges, where they are known
    shift: Shift  # of the images as delivered
    moved: Shift  # by which post has been moved since; NOT_MOVED without alignment

    @cached_property
    def skies(self) -> dict[Phase, Sky]:
        """Cloud and haze of the images, moved or not."""
        return skies(self.images, self.nodata)


def study_pair(images: dict[Phase, Pixels], masked: dict[Phase, Mask | None], size: int, align: bool) -> Pair:
    """Measure the whole scene, for patches of `size`; with `align`, move post onto pre if the shift is known."""
    nodata = {phase: nodata_mask(image, masked[phase]) for phase, image in images.items()}
    pair = _measure(images, nodata, size)
    if not align or not worth_moving(pair.shift):
        return pair
    post, hole = move_image(images["post"], nodata["post"], pair.shift)
    return replace(
        pair,
        images=images | {"post": post},
        nodata=nodata | {"post": hole},
        brightness=pair.brightness | {"post": (brightness := grey(post))},
        edges=pair.edges | {"post": window_edges(brightness, hole, pair.step_px)},
        spectra={},
        moved=pair.shift,
    )


def _measure(images: dict[Phase, Pixels], nodata: dict[Phase, Mask], size: int) -> Pair:
    """The scene's shift is that of all its windows together, so that each needs one transform only."""
    step, brightness = step_of(size), {phase: grey(image) for phase, image in images.items()}
    edges = {phase: window_edges(brightness[phase], nodata[phase], step) for phase in images}
    height, width = nodata["pre"].shape
    windows = grid(height, width, min(max(size, LEAST_WINDOW_PX), height, width))
    spectra = {window: cross_spectrum(*_cut(edges, window, step), step) for window in windows}
    shift = shift_of(np.sum(list(spectra.values()), axis=0), step)
    return Pair(images, nodata, brightness, edges, step, spectra, shift, NOT_MOVED)


def _cut(edges: dict[Phase, Edges], window: Window, step: int) -> tuple[Edges, Edges]:
    """Of pre and of post."""
    row, col, size = (number // step for number in (window.row, window.col, window.size))
    pre, post = (edges[phase][row : row + size, col : col + size] for phase in ("pre", "post"))
    return pre, post


def quality_columns(pair: Pair, window: Window) -> dict[str, Any]:
    """The quality columns of one patch, as `data/schema.py` lists them."""
    crop = (slice(window.row, window.row + window.size), slice(window.col, window.col + window.size))
    pre, post = pair.images["pre"][crop], pair.images["post"][crop]
    no_pre, no_post = pair.nodata["pre"][crop], pair.nodata["post"][crop]
    (cloud_pre, haze_pre), (cloud_post, haze_post) = (pair.skies[phase].over(window) for phase in ("pre", "post"))
    difference = tone(pre, post, no_pre | no_post)
    return {
        "nodata_fraction": np.count_nonzero(no_pre | no_post) / no_pre.size,
        "nodata_pre": np.count_nonzero(no_pre) / no_pre.size,
        "nodata_post": np.count_nonzero(no_post) / no_post.size,
        **_shift_columns(pair, window),
        "cloud_pre": cloud_pre,
        "cloud_post": cloud_post,
        "haze_pre": haze_pre,
        "haze_post": haze_post,
        "sharpness_pre": sharpness(pair.brightness["pre"][crop], no_pre),
        "sharpness_post": sharpness(pair.brightness["post"][crop], no_post),
        "radiometric_gain": difference.gain,
        "radiometric_offset": difference.offset,
        "radiometric_gap": difference.gap,
        "phash_pre": perceptual_hash(pre, no_pre),
    }


def _shift_columns(pair: Pair, window: Window) -> dict[str, Any]:
    """The patch's own estimate if it is confident and no confident scene contradicts it, else the scene's, if any."""
    if window in pair.spectra:
        own = shift_of(pair.spectra[window], pair.step_px)
    else:
        own = estimate_shift(*_cut(pair.edges, window, pair.step_px), pair.step_px)
    scene = pair.shift
    left = Shift(scene.dy - pair.moved.dy, scene.dx - pair.moved.dx, scene.confidence)
    contradicts = left.confident and math.hypot(own.dy - left.dy, own.dx - left.dx) > LARGEST_CONTRADICTION_PX
    if own.confident and not contradicts:
        best, source = own, "patch"
    elif left.confident:
        best, source = left, "scene"
    else:
        best, source = Shift(UNKNOWN_SHIFT.dy, UNKNOWN_SHIFT.dx, own.confidence), ""
    return {
        "shift_px": [best.dy, best.dx],
        "shift_confidence": best.confidence,
        "shift_source": source,
        "scene_shift_px": [scene.dy, scene.dx] if scene.confident else [UNKNOWN_SHIFT.dy, UNKNOWN_SHIFT.dx],
        "scene_shift_confidence": scene.confidence,
        "moved_px": [pair.moved.dy, pair.moved.dx],
    }
