"""Known shifts are found to 0.3 px where the estimate is confident; where there is nothing to find, it is not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from data.quality.registration import (
    CONFIDENT,
    Shift,
    cross_spectrum,
    edges,
    estimate_shift,
    grey,
    shift_of,
    window_edges,
)
from data.simulation import capture
from data.simulation.simulate import render_scene

SIDE = 256
MARGIN = 40  # of the larger ground from which both images are cut
ACCURACY_PX = 0.3


def ground(seed: int, side: int = SIDE + 2 * MARGIN) -> NDArray[np.float64]:
    """A town of houses of many sizes and colours, slightly blurred."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 90.0)
    for _ in range(400):
        (row, col), (height, width) = rng.integers(0, side, 2), rng.integers(4, 24, 2)
        image[row : row + height, col : col + width] = rng.uniform(30, 220, 3)
    return np.asarray(ndimage.gaussian_filter(image, (0.8, 0.8, 0)))


def pushed(image: NDArray[np.float64], down: float, right: float) -> NDArray[np.float64]:
    """Moved by the shift theorem of the Fourier series; what leaves on one side enters on the other."""
    rows, cols = (np.fft.fftfreq(side) for side in image.shape[:2])
    phase = np.exp(-2j * np.pi * (down * rows[:, None] + right * cols))
    return np.asarray(np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * phase[..., None], axes=(0, 1)).real)


def cut(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    inner = image[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]
    return np.clip(np.round(inner), 0, 255).astype(np.uint8)


def estimate(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> Shift:
    one, other = (edges(grey(image), (image == 0).all(axis=-1)) for image in (pre, post))
    return estimate_shift(one, other)


def error_px(found: Shift, down: float, right: float) -> float:
    """Post was pushed by (down, right), so it must move back by as much."""
    return math.hypot(found.dy + down, found.dx + right)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    down=st.floats(-12, 12),
    right=st.floats(-12, 12),
    gain=st.floats(0.5, 1.15),
    offset=st.floats(1, 30),
    noise=st.floats(0, 12),
    changed=st.floats(0, 0.9),
)
def test_what_is_confident_is_right(
    seed: int, down: float, right: float, gain: float, offset: float, noise: float, changed: float
) -> None:
    """Whatever share of the ground is replaced by other ground, and however light and sensor differ."""
    rng, place = np.random.default_rng(seed), ground(seed)
    rows = int(changed * len(place))
    after = np.concatenate([ground(seed + 1000)[:rows], place[rows:]])
    post = pushed(after, down, right) * gain + offset + rng.normal(0, noise, place.shape)
    found = estimate(cut(place), cut(post))
    if changed < 0.5:
        assert found.confident
    if found.confident:
        assert error_px(found, down, right) < ACCURACY_PX


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0.5, -0.25), (3, 7.4), (-20.3, 15.7)])
def test_a_mere_shift_is_found_to_a_tenth(down: float, right: float) -> None:
    found = estimate(cut(ground(1)), cut(pushed(ground(1), down, right)))
    assert error_px(found, down, right) < 0.1 and found.confidence > 0.8


def test_the_contrast_may_turn_round_in_a_part() -> None:
    """Bright roofs under dark ash."""
    place = ground(2)
    post = pushed(place, 2.5, -4)
    post[: len(post) // 3] = 255 - post[: len(post) // 3]
    found = estimate(cut(place), cut(post))
    assert found.confident and error_px(found, 2.5, -4) < ACCURACY_PX


def test_a_border_without_data_does_not_hold_the_estimate() -> None:
    pre, post = cut(ground(3)), cut(pushed(ground(3), 4.2, -3.6))
    wedge = np.add.outer(np.arange(SIDE) // 4, np.arange(SIDE)) < 100
    pre[wedge] = post[wedge] = 0
    found = estimate(pre, post)
    assert found.confident and error_px(found, 4.2, -3.6) < ACCURACY_PX


def test_unrelated_images_give_no_confidence() -> None:
    found = [estimate(cut(ground(2 * i)), cut(ground(2 * i + 1))) for i in range(20)]
    assert not any(shift.confident for shift in found)


def test_a_shift_beyond_the_search_gives_no_confidence() -> None:
    pushed_far = cut(np.roll(ground(4, SIDE + 4 * MARGIN), 60, axis=0))
    assert not estimate(cut(ground(4, SIDE + 4 * MARGIN)), pushed_far).confident


@pytest.mark.parametrize("level", [0, 7, 255])
def test_nothing_can_be_said_of_an_empty_image(level: int) -> None:
    found = estimate(cut(ground(5)), np.full((SIDE, SIDE, 3), level, np.uint8))
    assert math.isnan(found.dy) and math.isnan(found.dx) and found.confidence == 0


def test_a_patch_too_small_to_search_in() -> None:
    assert estimate(cut(ground(6))[:16, :16], cut(ground(6))[:16, :16]).confidence == 0


def test_noise_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(1, 255, (SIDE, SIDE, 3), np.uint8) for _ in range(2))
    assert estimate(one, other).confidence < CONFIDENT


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0.5, -0.25), (3, 7.4), (-20.3, 15.7)])
def test_half_resolution(down: float, right: float) -> None:
    side = 512
    inner = np.s_[MARGIN : MARGIN + side, MARGIN : MARGIN + side]
    place = ground(1, side + 2 * MARGIN)
    pair = [np.clip(np.round(image[inner]), 0, 255).astype(np.uint8) for image in (place, pushed(place, down, right))]
    pre, post = (window_edges(grey(image), np.zeros((side, side), bool), 2) for image in pair)
    found = estimate_shift(pre, post, 2)
    assert error_px(found, down, right) < 0.2 and found.confidence > 0.8


def test_windows_together_tell_what_only_some_of_them_show() -> None:
    """One of four still shows the same ground; each of the others alone tells nothing."""
    down, right, side = 3.3, -7.6, 2 * SIDE
    place, other = (ground(seed, side + 2 * MARGIN) for seed in (1, 2))
    inner = np.s_[MARGIN : MARGIN + side, MARGIN : MARGIN + side]
    post = pushed(place, down, right)[inner]
    post[:SIDE] = other[inner][:SIDE]
    post[:, SIDE:] = other[inner][:, SIDE:]
    both = [np.clip(np.round(image), 0, 255).astype(np.uint8) for image in (place[inner], post)]
    pre, after = (edges(grey(image), np.zeros((side, side), bool)) for image in both)
    corners = [np.s_[row : row + SIDE, col : col + SIDE] for row in (0, SIDE) for col in (0, SIDE)]
    spectra = [cross_spectrum(pre[corner], after[corner], 1) for corner in corners]
    assert [shift_of(spectrum, 1).confident for spectrum in spectra] == [False, False, True, False]
    found = shift_of(np.sum(spectra, axis=0), 1)
    assert found.confident and error_px(found, down, right) < 0.1


def test_half_resolution_leaves_out_what_a_missing_pixel_touches() -> None:
    nodata = np.zeros((65, 43), bool)
    nodata[20, 11] = True  # in row 10, column 5 of the halved image
    found = window_edges(np.random.default_rng(0).random((65, 43), np.float32), nodata, 2)
    assert found.shape == (32, 21)
    beside = ndimage.distance_transform_cdt(np.arange(32 * 21).reshape(32, 21) != 10 * 21 + 5, "taxicab") <= 2
    inner = np.s_[1:-1, 1:-1]
    assert not found[beside].any() and found[inner][~beside[inner]].all()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2, 3])  # a flood, a fire, an earthquake
def test_simulated_disasters(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage, other shadows, tone, noise and cloud between two passes that lie exactly on each other, then a push."""
    monkeypatch.setattr(capture, "SHIFTED_SHARE", 0.0)
    scene = render_scene(7, index)
    down, right = np.random.default_rng(index).uniform(-9, 9, 2)
    post = np.clip(np.round(pushed(scene.images["post"].astype(np.float64), down, right)), 0, 255).astype(np.uint8)
    light, none = [grey(image) for image in (scene.images["pre"], post)], np.zeros(post.shape[:2], bool)
    pre, halved = (window_edges(image, none, 2) for image in light)
    found = estimate_shift(pre, halved, step_px=2)
    assert found.confident and error_px(found, down, right) < ACCURACY_PX
    middle = (slice(256, 768), slice(256, 768))
    pre_edges, post_edges = (edges(image, none)[middle] for image in light)
    patch = estimate_shift(pre_edges, post_edges)
    assert patch.confident and error_px(patch, down, right) < ACCURACY_PX
