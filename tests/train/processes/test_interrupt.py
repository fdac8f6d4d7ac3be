"""Signals become a flag, and the flag becomes a decision of all processes."""

import os
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import torch

from train.processes.interrupt import EXIT_INTERRUPTED, Agreement, Interrupt, Stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_before_the_first_step_a_signal_ends_the_run(number: signal.Signals) -> None:
    with pytest.raises(Stopped) as stopped, Interrupt():
        os.kill(os.getpid(), number)
    assert stopped.value.status == EXIT_INTERRUPTED


def test_only_a_second_press_of_ctrl_c_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Interrupt() as interrupt:
        interrupt.at_step_boundaries = True
        os.kill(os.getpid(), signal.SIGINT)
        now = 100.2
        os.kill(os.getpid(), signal.SIGINT)  # torchrun passes on what the terminal sent to all
        now = 160.0
        os.kill(os.getpid(), signal.SIGTERM)  # Slurm insists
        assert interrupt.requested
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.value.status == 130


@dataclass
class Wire:
    """Sums that arrive when both processes have sent, whoever is ahead."""

    sent: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def all_reduce(self, flags: torch.Tensor, *, group: Any, async_op: bool) -> "Wire":
        assert async_op
        group[0] += 1
        self.sent.setdefault(group[0], []).append(flags)
        return self

    def wait(self) -> None:
        for pair in self.sent.values():
            if len(pair) == 2:
                total = sum(int(flags) for flags in pair)
                for flags in pair:
                    flags.fill_(total)
                pair.append(torch.tensor(0))  # done


@pytest.mark.parametrize("signalled", [0, 1])
def test_both_processes_stop_after_the_same_step(monkeypatch: pytest.MonkeyPatch, signalled: int) -> None:
    wire = Wire()
    monkeypatch.setattr("torch.distributed.new_group", lambda backend, timeout: [0])
    monkeypatch.setattr("torch.distributed.all_reduce", wire.all_reduce)
    interrupts = [Interrupt(), Interrupt()]
    for interrupt in interrupts:
        interrupt.requested = False
    agreements = [Agreement(interrupt, 2, timedelta(seconds=60)) for interrupt in interrupts]
    answers: list[list[bool]] = [[], []]
    for boundary in range(1, 6):
        if boundary == 3:
            interrupts[signalled].requested = True  # during step 3
        for answer, agreement in zip(answers, agreements, strict=True):
            answer.append(agreement.stop())
    assert answers[0] == answers[1] == [False, False, False, True, True]  # after step 4: the second


def test_one_process_asks_nobody() -> None:
    interrupt = Interrupt()
    interrupt.requested = True
    assert Agreement(interrupt, 1, timedelta(seconds=60)).stop()
