"""The judge: scores by hand, thresholds by their definition, planted faults found, models of others by the contract."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.damage.judge import (
    Scores,
    calibrate,
    change_outside,
    classify_tile,
    open_judge,
    precision_recall,
    score_pair,
    seen_of,
    steps,
)
from evaluation.damage.model import DamageCard, DamageModel
from evaluation.damage.network import DamageNetwork
from evaluation.errors import EvaluationError

SIDE = 64
TONES = {1: 120, 2: 150, 3: 180, 4: 220}  # grey levels of roofs, by damage


def grey(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roofs in the tone of their damage on noisy ground."""
    pixels = rng.integers(60, 90, (SIDE, SIDE)).astype(np.uint8)
    for value, tone in TONES.items():
        pixels[classes == value] = tone
    return np.repeat(pixels[..., None], 3, axis=-1)


def by_tone(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """A perfect damage model of such pictures: buildings by pre, damage by post."""
    nearest = np.abs(post[..., :1].astype(int) - np.array(list(TONES.values()))).argmin(axis=-1) + 1
    return np.where(pre[..., 0] == TONES[1], nearest, 0).astype(np.uint8)


def pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pre, post, asked, ids: nine houses of random classes."""
    rng = np.random.default_rng(seed)
    ids, asked = np.zeros((SIDE, SIDE), np.int32), np.zeros((SIDE, SIDE), np.uint8)
    for number in range(9):
        top, left = (20 * part + 4 for part in divmod(number, 3))
        house = np.s_[top : top + 10, left : left + 8]
        ids[house], asked[house] = number + 1, rng.integers(1, 5)
    ground = np.random.default_rng(seed)
    pre = grey(np.where(asked > 0, 1, 0), ground)
    post = np.where(asked[..., None] > 0, grey(asked, rng), pre + rng.integers(0, 3, pre.shape)).astype(np.uint8)
    return pre, post, asked, ids


def test_steps_by_hand() -> None:
    """Asked destroyed, no damage, minor; seen major, no damage, nothing; the fourth cannot be assessed."""
    ids = np.array([[1, 1, 2, 2, 3, 3, 4, 4, 0]], np.int32)
    asked = np.array([[4, 4, 1, 1, 2, 2, 255, 255, 0]], np.uint8)
    found = np.array([[3, 3, 1, 1, 0, 0, 4, 4, 4]], np.uint8)
    off = steps(found, asked, ids)
    assert np.array_equal(off, [1, 0, 3])
    assert seen_of(off) == pytest.approx(1 - 4 / 9)
    assert seen_of(np.array([])) == 0


def test_change_outside_leaves_out_tone_and_buildings() -> None:
    pre, _, asked, ids = pair(1)
    assert change_outside(pre, (pre * 0.8 + 20).astype(np.uint8), ids) < 0.5
    buildings = np.where(asked[..., None] > 0, 255, pre).astype(np.uint8)
    assert change_outside(pre, buildings, ids) == pytest.approx(change_outside(pre, pre, ids), abs=0.01)
    ground = pre.copy()
    ground[:, : SIDE // 2] = 255 - ground[:, : SIDE // 2]
    assert change_outside(pre, np.where(asked[..., None] > 0, pre, ground), np.zeros_like(ids)) > 10


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 50)), min_size=40, max_size=90), st.floats(0.05, 0.5))
def test_thresholds_reject_no_more_real_pairs_than_stated(scores: list[tuple[float, float]], rate: float) -> None:
    """Of those that they were taken from, at most the share; and by each score at most half of it."""
    real = [Scores(*one) for one in scores]
    found = calibrate(real, rate)
    assert sum(bool(found.fault(one)) for one in real) <= rate * (len(real) + 1)
    assert sum(one.seen < found.least_seen for one in real) <= rate / 2 * (len(real) + 1)


def test_the_share_holds_for_new_scenes() -> None:
    """Averaged over many calibrations, as the theorem says; and the thresholds are not far lower than they may be."""
    rng, rejected = np.random.default_rng(3), []
    for _ in range(300):
        scores = [Scores(*one) for one in rng.normal(0, 1, (61, 2))]
        rejected.append(bool(calibrate(scores[:60], 0.2).fault(scores[60])))
    assert 0.1 < np.mean(rejected) < 0.25


def test_too_few_scenes_to_calibrate_with() -> None:
    with pytest.raises(EvaluationError, match=r"needs 39 labelled scenes to calibrate with, and there are 38"):
        calibrate([Scores(1, 0)] * 38, 0.05)
    assert calibrate([Scores(1, 0)] * 39, 0.05).fault(Scores(1, 0)) == ""
    with pytest.raises(EvaluationError, match="expected a share between 0 and 1"):
        calibrate([Scores(1, 0)] * 99, 1.5)


def test_planted_faults_are_found() -> None:
    """Masks shifted, classes wrong, nothing changed, change elsewhere: by a good model all of them, and few others."""
    thresholds = calibrate([score_pair(by_tone, *pair(seed)) for seed in range(100)], 0.05)
    rejected, faulty = [], []
    for seed in range(200, 260):
        pre, post, asked, ids = pair(seed)
        shift = np.roll(asked, 12, axis=1), np.roll(ids, 12, axis=1)
        elsewhere = post.copy()
        elsewhere[:, 54:] = 250
        wrong = np.where(asked > 0, (asked + 1) % 4 + 1, 0).astype(np.uint8)
        cases = [(pre, post, asked, ids), (pre, post, *shift), (pre, post, wrong, ids), (pre, elsewhere, asked, ids)]
        cases.append((pre, pre, np.where(asked > 0, np.maximum(asked, 3), 0).astype(np.uint8), ids))
        for number, case in enumerate(cases):
            rejected.append(bool(thresholds.fault(score_pair(by_tone, *case))))
            faulty.append(number > 0)
    precision, recall = precision_recall(rejected, faulty)
    assert precision > 0.95
    assert recall == 1


def test_a_model_of_somebody_else(tmp_path: Path) -> None:
    """A function of uint8 batches; one that returns something else, or cannot be loaded, is named."""
    path = tmp_path / "theirs.py"
    path.write_text(
        "import numpy as np\n"
        "def judge(pre, post):\n"
        "    assert pre.dtype == post.dtype == np.uint8 and pre.ndim == 4\n"
        "    return (np.abs(post.astype(int) - pre).max(-1) > 20) * 4\n"
        "def bad(pre, post):\n"
        "    return pre[0]\n"
    )
    pre, post, *_ = pair(0)
    classify, facts = open_judge(f"{path}:judge")
    assert set(np.unique(classify(pre, post))) == {0, 4}
    assert facts["function"] == "judge" and len(facts["file_sha256"]) == 64
    with pytest.raises(EvaluationError, match=r"returned uint8 \(64, 64, 3\), expected \(1, 64, 64\)"):
        open_judge(f"{path}:bad")[0](pre, post)
    for name, words in (
        (f"{path}:none", "cannot be loaded"),
        (f"{tmp_path}/x.py:judge", "no such file"),
        (str(tmp_path), "there is no model.json"),
    ):
        with pytest.raises(EvaluationError, match=words):
            open_judge(name)


def test_our_model_sees_a_tile_window_by_window() -> None:
    """As it was trained: each window of the size of its patches; the margin is filled by reflection."""
    model = DamageModel(DamageNetwork(8), DamageCard(width=8, resolution=16, patch_px=32))
    rng = np.random.default_rng(0)
    pre, post = (rng.integers(0, 256, (72, 40, 3)).astype(np.uint8) for _ in range(2))
    found = classify_tile(model, pre, post)
    small = [image[32:64, :32].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)) for image in (pre, post)]
    expected = model.classify(*([np.round(image).astype(np.uint8)] for image in small))[0]
    assert found.shape == (72, 40)
    agreement: Any = (found[32:64:2, :32:2] == expected).mean()
    assert agreement > 0.9  # Pillow rounds a mean of four otherwise
