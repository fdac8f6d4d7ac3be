"""Learning rate and EMA decay at steps that a reader can check."""

import pytest

from train.schedules import ema_decay, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (10, 1.0), (16, 1.0), (18, 0.5), (19, 0.14644661)],
)
def test_learning_rate(step: int, expected: float) -> None:
    found = learning_rate(step, peak=1.0, steps=20, warmup_steps=4, decay_steps=4)
    assert found == pytest.approx(expected)


def test_ema_decay_starts_low_and_meets_its_limit() -> None:
    assert ema_decay(0, limit=0.999) == pytest.approx(0.1)
    assert ema_decay(90, limit=0.999) == pytest.approx(0.91)
    assert ema_decay(10**6, limit=0.999) == 0.999
