"""What the disaster changed and what nobody could foresee are told apart: against the same scene under a clear sky."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter

from data.simulation import capture, history, simulate
from data.simulation.aftermath import Surface, ravage
from data.simulation.capture import Pair, unforeseeable
from data.simulation.events import EVENTS
from data.simulation.history import look_back
from data.simulation.paint import Floats
from data.simulation.place import make_place
from data.simulation.release import FOLDERS, Scene, write_scene
from data.simulation.simulate import render_scene

NOISE = 2  # of 8-bit values: rounding of two images of the same random state
SMEAR_PX = 9  # window of what blur, shading and the shift of an image carry over a border


def no_veil(values: Floats, low: float, high: float) -> Floats:
    """In the place of `ramp` where the cloud is drawn: the same random numbers, a clear sky."""
    return np.zeros_like(values)


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(H, W) the largest difference of a channel."""
    return np.asarray(np.abs(one.astype(np.int64) - other).max(-1))


@pytest.fixture(scope="module")
def clouded() -> Scene:
    """A fire under smoke, and post does not lie exactly on pre."""
    return render_scene(0, 8)


@pytest.fixture(scope="module")
def clear() -> Scene:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(capture, "ramp", no_veil)
        return render_scene(0, 8)


def test_cover_is_where_the_cloud_changes_the_image(clouded: Scene, clear: Scene) -> None:
    assert not clear.cover.any()
    np.testing.assert_array_equal(clouded.images["pre"], clear.images["pre"])
    differs = apart(clouded.images["post"], clear.images["post"])
    assert 0.05 < (clouded.cover > 0).mean() < 0.6
    assert differs[clouded.cover == 0].max() <= NOISE
    assert (differs[clouded.cover > 25] > NOISE).mean() > 0.99


def test_a_cloud_is_no_change_and_hides_none(clouded: Scene, clear: Scene) -> None:
    np.testing.assert_array_equal(clouded.change, clear.change)
    both = (clouded.change > 200) & (clouded.cover > 200)
    neither = (clouded.change == 0) & (clouded.cover == 0)
    assert both.mean() > 0.01 and neither.mean() > 0.1


@pytest.mark.parametrize("index", [1, 8])
def test_elsewhere_post_is_the_same_place_in_other_light(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no disaster had come and no cloud: its sun, tone, noise and registration are those of post."""

    def nothing_happens(rng: np.random.Generator, place: object, force: object, classes: object) -> Surface:
        surface = ravage(rng, place, force, classes)  # type: ignore[arg-type]
        return Surface(place.albedo.copy(), place.objects_m.copy(), surface.changed)  # type: ignore[attr-defined]

    scene = render_scene(0, index)
    monkeypatch.setattr(capture, "ramp", no_veil)
    monkeypatch.setattr(simulate, "ravage", nothing_happens)
    spared = render_scene(0, index)
    touched = maximum_filter(np.maximum(scene.change, scene.cover), SMEAR_PX) > 0
    differs = apart(scene.images["post"], spared.images["post"])
    assert (~touched).mean() > 0.02
    assert differs[~touched].max() <= NOISE
    assert differs[scene.change > 200].mean() > 5 * NOISE


def test_missing_data_are_covered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "WEDGE_SHARE", 1.0)
    scene = render_scene(0, 1)
    black = (scene.images["pre"] == 0).all(-1) & (scene.images["post"] == 0).all(-1)
    assert 0.01 < black.mean() < 0.5
    assert (scene.cover[black] == 255).all() and not scene.change[black].any()
    assert (scene.cover[~black] < 255).all()


def test_ground_that_another_earlier_image_shows_is_not_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, scene = render_scene(0, 1), render_scene(0, 1, history=1)
    monkeypatch.setattr(history, "cover", lambda image, colour, alpha: None)
    (bare,) = look_back(0, 1, EVENTS[1], make_place(np.random.default_rng((0, 1)), EVENTS[1]), 1)
    over_pre = apart(scene.images["pre"], plain.images["pre"])
    over_earlier = apart(scene.history[0].image, bare.image)
    more = scene.cover > plain.cover
    assert 0.05 < more.mean() < 0.7
    assert (np.minimum(over_pre, over_earlier)[more & (scene.cover > 25)] > NOISE).mean() > 0.98
    assert np.minimum(over_pre, over_earlier)[scene.cover == 0].max() <= NOISE
    assert ((over_pre > 50) & (scene.cover == 0)).mean() > 0.1  # the earlier image shows it


def test_opacity_by_hand() -> None:
    """The thinner of two clouds before the event, the thicker of before and after; 255 without data."""
    flat = np.ones((40, 40), np.float32)
    outside = np.zeros((40, 40), np.bool_)
    outside[:4] = True
    pair = Pair({}, np.zeros((40, 40), np.uint8), flat * 0.2, outside)
    assert unforeseeable(pair, []).tolist() == [[255] * 40] * 4 + [[51] * 40] * 36
    assert (unforeseeable(pair, [flat * 0.4, flat * 0.9])[4:] == 102).all()
    assert (unforeseeable(pair, [flat * 0.0, flat * 0.9])[4:] == 51).all()


def test_it_is_written_beside_the_change(clouded: Scene, tmp_path: Path) -> None:
    for kind in FOLDERS:
        (tmp_path / clouded.split / kind).mkdir(parents=True)
    write_scene(tmp_path, clouded)
    for kind, expected in (("change", clouded.change), ("cover", clouded.cover)):
        with Image.open(tmp_path / clouded.split / kind / f"{clouded.stem}_{kind}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), expected)
