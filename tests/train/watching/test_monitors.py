"""Numbers a reader can check by hand."""

import numpy as np
import pytest

from train.watching.contact_sheet import contact_sheet
from train.watching.monitors import colour_drift, drift_metrics, loss_metrics


def test_the_control_gap_is_what_control_saves() -> None:
    with_control, without = np.array([[0.1, 0.3], [0.3, 0.5]]), np.array([[0.2, 0.3], [0.4, 0.7]])
    metrics = loss_metrics([250, 750], with_control, without)
    assert metrics == pytest.approx(
        {
            "validation_loss": 0.3,
            "validation_loss_t250": 0.2,
            "validation_loss_t750": 0.4,
            "control_gap": 0.1,
            "control_gap_t250": 0.1,
            "control_gap_t750": 0.1,
        }
    )
    assert "control_gap" not in loss_metrics([250, 750], with_control, None)


def test_colour_drift_looks_only_where_nothing_happened() -> None:
    pre = np.zeros((2, 2, 3), np.uint8)
    pre[0] = [[10, 20, 30], [30, 20, 10]]
    image = np.full((2, 2, 3), 255, np.uint8)
    image[0] = [[15, 20, 30], [35, 20, 30]]
    unchanged = np.array([[True, True], [False, False]])
    drift = colour_drift(image, pre, unchanged)
    assert drift.tolist() == [[5, 0, 10], [0, 0, -10]]  # blue: 30, 10 became 30, 30
    nowhere = colour_drift(image, pre, np.zeros((2, 2), np.bool_))
    metrics = drift_metrics([drift, nowhere])
    assert metrics["colour_drift_mean_red"] == 5 and metrics["colour_drift_std_blue"] == -10
    assert drift_metrics([nowhere]) == {}


def test_a_contact_sheet_has_a_row_for_each_patch() -> None:
    images = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet([images, images[::-1]])
    assert sheet.shape == (16 + 2 * 12 - 4, 3 * 12 - 4, 3)
    assert [int(sheet[20, x, 0]) for x in (4, 16, 28)] == [10, 20, 30]
    assert [int(sheet[32, x, 0]) for x in (4, 16, 28)] == [30, 20, 10]
