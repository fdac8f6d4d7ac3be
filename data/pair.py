"""All quality columns of the patches of one scene: what is shared is computed once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.alignment import move_image, worth_moving
from data.duplicates import perceptual_hash
from data.labels import Phase
from data.quality import Floats, Mask, Pixels, cloud_and_haze, nodata_mask, sharpness, tone
from data.registration import UNKNOWN_SHIFT, Edges, Shift, edges, estimate_shift, grey
from data.tiles import Window

# The scene's shift is estimated in its middle if it is larger than this: two xBD scenes each way.
SCENE_WINDOW_PX = 2048
NOT_MOVED = Shift(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pair:
    """A pre and a post image of one size, and what has been measured in the whole of them."""

    images: dict[Phase, Pixels]
    nodata: dict[Phase, Mask]
    brightness: dict[Phase, Floats]
    edges: dict[Phase, Edges]
    shift: Shift  # of the images as they came
    moved: Shift  # by which post has been moved since; NOT_MOVED without alignment


def study_pair(images: dict[Phase, Pixels], masked: dict[Phase, Mask | None], align: bool) -> Pair:
    """Measure the whole scene; with `align`, move post onto pre if the shift is known."""
    nodata = {phase: nodata_mask(image, masked[phase]) for phase, image in images.items()}
    pair = _measure(images, nodata)
    if not align or not worth_moving(pair.shift):
        return pair
    post, hole = move_image(images["post"], nodata["post"], pair.shift)
    brightness = grey(post)
    return Pair(
        images=images | {"post": post},
        nodata=nodata | {"post": hole},
        brightness=pair.brightness | {"post": brightness},
        edges=pair.edges | {"post": edges(brightness, hole)},
        shift=pair.shift,
        moved=pair.shift,
    )


def _measure(images: dict[Phase, Pixels], nodata: dict[Phase, Mask]) -> Pair:
    brightness = {phase: grey(image) for phase, image in images.items()}
    found = {phase: edges(brightness[phase], nodata[phase]) for phase in images}
    middle = tuple(_middle(side) for side in nodata["pre"].shape)
    shift = estimate_shift(found["pre"][middle], found["post"][middle])
    return Pair(images, nodata, brightness, found, shift, NOT_MOVED)


def _middle(side: int) -> slice:
    start = max(0, side - SCENE_WINDOW_PX) // 2
    return slice(start, start + min(side, SCENE_WINDOW_PX))


def quality_columns(pair: Pair, window: Window) -> dict[str, Any]:
    """The quality columns of one patch, as `data/schema.py` lists them."""
    crop = (slice(window.row, window.row + window.size), slice(window.col, window.col + window.size))
    pre, post = pair.images["pre"][crop], pair.images["post"][crop]
    no_pre, no_post = pair.nodata["pre"][crop], pair.nodata["post"][crop]
    cloud_pre, haze_pre = cloud_and_haze(pre, no_pre)
    cloud_post, haze_post = cloud_and_haze(post, no_post)
    difference = tone(pre, post, no_pre | no_post)
    return {
        "nodata_fraction": float(np.mean(no_pre | no_post)),
        "nodata_pre": float(np.mean(no_pre)),
        "nodata_post": float(np.mean(no_post)),
        **_shift_columns(pair, crop),
        "cloud_pre": cloud_pre,
        "cloud_post": cloud_post,
        "haze_pre": haze_pre,
        "haze_post": haze_post,
        "sharpness_pre": sharpness(pair.brightness["pre"][crop], no_pre),
        "sharpness_post": sharpness(pair.brightness["post"][crop], no_post),
        "radiometric_gain": difference.gain,
        "radiometric_offset": difference.offset,
        "radiometric_gap": difference.gap,
        "phash_pre": perceptual_hash(pre),
    }


def _shift_columns(pair: Pair, crop: tuple[slice, slice]) -> dict[str, Any]:
    """The patch's own estimate where it is confident, else what is left of the scene's, else unknown."""
    own = estimate_shift(pair.edges["pre"][crop], pair.edges["post"][crop])
    scene = pair.shift
    left = Shift(scene.dy - pair.moved.dy, scene.dx - pair.moved.dx, scene.confidence)
    if own.confident:
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
