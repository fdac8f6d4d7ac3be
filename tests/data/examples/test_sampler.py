"""Views and batches of the ordinals, for any number of processes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.examples.sampler import OrdinalBatches, example_rng, view_of


@given(seed=st.integers(0, 2**32), num_views=st.integers(1, 50), epoch=st.integers(0, 5))
def test_every_view_once_per_epoch(seed: int, num_views: int, epoch: int) -> None:
    drawn = [view_of(seed, epoch * num_views + position, num_views) for position in range(num_views)]
    assert sorted(drawn) == list(range(num_views))


def test_epochs_differ_in_order() -> None:
    first, second = ([view_of(0, epoch * 100 + position, 100) for position in range(100)] for epoch in (0, 1))
    assert first != second


@given(
    processes=st.integers(1, 4),
    micro_batch=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    first_step=st.integers(0, 5),
    steps=st.integers(0, 4),
)
def test_the_processes_share_every_step(
    processes: int, micro_batch: int, accumulation: int, first_step: int, steps: int
) -> None:
    global_batch = processes * micro_batch * accumulation
    ranks = [
        OrdinalBatches(
            first_step=first_step,
            last_step=first_step + steps,
            global_batch=global_batch,
            micro_batch=micro_batch,
            rank=rank,
            num_processes=processes,
        )
        for rank in range(processes)
    ]
    batches = [list(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(each) for each in batches] == [steps * accumulation] * processes
    for step in range(steps):
        mine = [each[step * accumulation : (step + 1) * accumulation] for each in batches]
        drawn = [ordinal for rank in mine for micro in rank for ordinal in micro]
        start = (first_step + step) * global_batch
        assert drawn == list(range(start, start + global_batch))


def test_an_example_has_its_own_noise() -> None:
    one, again, other = (example_rng(7, ordinal).standard_normal(1000) for ordinal in (3, 3, 4))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
