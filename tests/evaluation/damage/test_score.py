"""The score of the xView2 challenge: by hand, and against loops over single pixels."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from evaluation.damage.score import CLASSES, SCORES, count, estimate_scores, official


def mask(rows: str) -> NDArray[np.uint8]:
    """One character a pixel; `u` is an un-classified building."""
    return np.array([[255 if char == "u" else int(char) for char in row] for row in rows.split()], np.uint8)


TRUTH, PREDICTED = mask("1144 2440 33u0"), mask("1141 2400 3402")


def test_counts_by_hand() -> None:
    """The un-classified building is missed by localisation alone; the false alarm on bare ground costs no class."""
    assert count(PREDICTED, TRUTH).tolist() == [[8, 1, 2], [2, 1, 0], [1, 0, 0], [1, 0, 1], [2, 1, 2]]


def test_scores_by_hand() -> None:
    """F1: 16/19 of buildings, 4/5, 1, 2/3 and 4/7 of the classes, whose harmonic mean is 4/5.5."""
    found = official(count(PREDICTED, TRUTH))
    assert tuple(found) == SCORES
    assert found["localisation_f1"] == pytest.approx(16 / 19)
    assert [found[f"{name}_f1"] for name in CLASSES] == pytest.approx([4 / 5, 1, 2 / 3, 4 / 7])
    assert found["damage_f1"] == pytest.approx(4 / 5.5, abs=2e-6)
    assert found["score"] == pytest.approx(0.3 * 16 / 19 + 0.7 * 4 / 5.5, abs=2e-6)


def test_perfect_and_nothing() -> None:
    """1 but for the epsilon; nothing but the epsilon."""
    everything = official(count(mask("12340"), mask("12340")))
    assert everything["score"] == pytest.approx(1, abs=1e-6)
    nothing = official(count(mask("00000"), mask("12340")))
    assert nothing["localisation_f1"] == 0
    assert nothing["damage_f1"] == pytest.approx(1e-6)


def test_one_class_at_zero_sinks_the_harmonic_mean() -> None:
    """destroyed is never predicted; no-damage has one false alarm: F1 2/3, 1, 1, 0."""
    found = official(count(mask("1231"), mask("1234")))
    assert [found[f"{name}_f1"] for name in CLASSES] == pytest.approx([2 / 3, 1, 1, 0])
    assert found["damage_f1"] == pytest.approx(4 / (3 / 2 + 1 + 1 + 1_000_000), rel=1e-4)


def slow_score(images: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> dict[str, float]:
    """Pixel by pixel, with precision and recall, as the challenge describes it."""

    def harmonic(tp: int, fp: int, fn: int) -> float:
        if tp == 0:
            return 0.0
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        return 2 * precision * recall / (precision + recall)

    tallies = {what: [0, 0, 0] for what in range(5)}
    for predicted, truth in images:
        for said, true in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if said > 0 and true > 0:
                tallies[0][0] += 1
            elif said > 0:
                tallies[0][1] += 1
            elif true > 0:
                tallies[0][2] += 1
            if true not in (1, 2, 3, 4):
                continue
            for what in (1, 2, 3, 4):
                if said == what and true == what:
                    tallies[what][0] += 1
                elif said == what:
                    tallies[what][1] += 1
                elif true == what:
                    tallies[what][2] += 1
    f1s = [harmonic(*tallies[what]) for what in range(5)]
    damage = 4 / sum((value + 1e-6) ** -1 for value in f1s[1:])
    names = ("localisation_f1", *(f"{name}_f1" for name in CLASSES))
    return dict(zip(names, f1s, strict=True)) | {"damage_f1": damage, "score": 0.3 * f1s[0] + 0.7 * damage}


@pytest.mark.parametrize("seed", range(6))
def test_against_loops_over_pixels(seed: int) -> None:
    """Five random images, half of whose pixels are classified correctly; some seeds lack a class."""
    rng = np.random.default_rng(seed)
    values = [0, 1, 2, 3, 4, 255] if seed % 2 else [0, 1, 2, 4, 255]
    images = []
    for _ in range(5):
        truth = rng.choice(values, (12, 9)).astype(np.uint8)
        guess = rng.integers(0, 5, truth.shape)
        images.append((np.where((rng.random(truth.shape) < 0.5) & (truth < 5), truth, guess).astype(np.uint8), truth))
    found = official(np.sum([count(*image) for image in images], axis=0))
    expected = slow_score(images)
    for name in SCORES:
        assert found[name] == pytest.approx(expected[name], rel=1e-9)


def test_estimate_pools_counts_and_draws_whole_scenes() -> None:
    """The value is of the sums, not a mean over patches; equal scenes have no spread; below five no interval."""
    good, bad = count(mask("1234"), mask("1234")), count(mask("0000 0000"), mask("1234 1234"))
    found = estimate_scores(np.stack([good, bad, bad, good] * 3), [f"s{i}" for i in range(12)])
    assert found["localisation_f1"].value == pytest.approx(2 * 8 / (2 * 8 + 16))
    assert found["localisation_f1"].low < found["localisation_f1"].value < found["localisation_f1"].high
    assert (found["localisation_f1"].patches, found["localisation_f1"].clusters) == (12, 12)
    alike = estimate_scores(np.stack([good, bad] * 6), [f"s{i // 2}" for i in range(12)])["score"]
    assert (alike.low, alike.high) == (alike.value, alike.value)
    assert math.isnan(estimate_scores(np.stack([good, bad] * 6), [f"s{i % 4}" for i in range(12)])["score"].low)
    assert math.isnan(estimate_scores(good[None][:0], [])["score"].value)


def test_interval_is_that_of_loops_over_scenes() -> None:
    """Scenes drawn with another generator, F1 of their added counts, one draw after the other."""
    rng = np.random.default_rng(4)
    per_patch, scenes = rng.integers(0, 50, (60, 5, 3)), [f"s{i // 3:02d}" for i in range(60)]
    found = estimate_scores(per_patch, scenes)["score"]
    drawn = []
    for _ in range(3000):
        chosen = rng.integers(20, size=20)
        counts = sum(per_patch[3 * scene : 3 * scene + 3].sum(axis=0) for scene in chosen)
        drawn.append(float(official(counts)["score"]))
    tail = stats.norm.sf(stats.t.ppf(0.975, df=19) * math.sqrt(20 / 19))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
