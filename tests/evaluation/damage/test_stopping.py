"""A training ends when its validation loss becomes no lower, with the weights of the lowest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evaluation.damage.stopping import Stopping
from evaluation.options import Training


@given(st.lists(st.floats(0, 9), min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 5))
def test_it_stops_where_a_search_by_hand_does(losses: list[float], patience: int, every: int) -> None:
    """The first validation that has no lower one in the last `patience`; the weights are of the lowest until then."""
    network = nn.Linear(1, 1, bias=False)
    steps = every * len(losses)
    found = iter(losses)
    until = Stopping(lambda: next(found), Training(steps=steps, patience=patience, validate_every=every), network)
    step = 0
    for step in range(1, steps + 1):
        with torch.no_grad():
            network.weight.fill_(step)
        if until.is_over(step):
            break
    best = [min(range(i + 1), key=losses.__getitem__) for i in range(len(losses))]
    stopped = next((i for i in range(len(losses)) if i - best[i] >= patience), len(losses) - 1)
    assert step == (stopped + 1) * every
    facts = until.restored()
    assert facts == {"best_step": (best[stopped] + 1) * every, "validation_loss": losses[best[stopped]]}
    assert network.weight.item() == facts["best_step"]


def test_the_last_step_is_validated() -> None:
    network = nn.Linear(1, 1)
    until = Stopping(lambda: 1.0, Training(steps=7, patience=3, validate_every=5), network)
    for step in range(1, 8):
        until.is_over(step)
    assert until.best_step == 5
    assert Stopping(lambda: 1.0, Training(steps=3, patience=1, validate_every=5), network).is_over(3) is False


@pytest.mark.parametrize("patience", [-1])
def test_no_negative_patience(patience: int) -> None:
    with pytest.raises(ValueError, match="patience is -1"):
        Training(patience=patience)
