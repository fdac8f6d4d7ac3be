"""A process is gone: the others end, with a checkpoint of the last whole step."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks.resume.two_nodes import LOOPBACK, launchers
from benchmarks.small_runs import kill
from models.checkpoint import fault_of, steps_in
from tests.train.conftest import Arguments, run, wait_for_steps
from tests.worlds import REPOSITORY
from train.lost_peer import PeerLost
from train.objective import denoising_loss
from train.saving.run_files import read_metrics

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:2222"
TORCHRUN = [sys.executable, "-m", "launch.processes", "--standalone", "--nproc_per_node=2"]


def losing_at(step: int, message: str, spoilt: float = 1.0) -> Any:
    """The loss, until in the second micro-batch of a step the connection breaks."""
    calls: list[int] = []

    def loss(*parts: Any, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        if len(calls) == 2 * step:
            raise RuntimeError(message)
        losses, plain = denoising_loss(*parts, **settings)
        return losses * spoilt, plain

    return loss


def test_the_steps_done_are_saved_and_gone_on_from(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(arguments("straight"))
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.denoising_loss", losing_at(5, GLOO))
        with pytest.raises(
            PeerLost, match=r"lost after step 4 \(.*Connection closed by peer.*Saved .*step-00000004"
        ) as e:
            run(arguments("lost"))
    assert e.value.status == 75
    newest = steps_in(tmp_path / "lost/checkpoints")[-1]
    assert (newest.name, fault_of(newest)) == ("step-00000004", None)
    run(arguments("lost"))
    straight, lost = ([line["loss"] for line in read_metrics(tmp_path / out)] for out in ("straight", "lost"))
    assert lost == straight and len(lost) == 6


@pytest.mark.parametrize(("step", "spoilt"), [(1, 1.0), (3, float("inf"))], ids=["nothing done", "not finite"])
def test_nothing_is_saved_that_nobody_can_use(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, step: int, spoilt: float
) -> None:
    monkeypatch.setattr("train.loop.denoising_loss", losing_at(step, GLOO, spoilt))
    with pytest.raises(PeerLost, match=f"lost after step {step - 1} .*There is no checkpoint yet") as error:
        run(arguments("lost", "--run.log_every=6"))
    assert error.value.status == 2
    assert not steps_in(tmp_path / "lost/checkpoints")


def test_other_errors_stay_what_they_are(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.loop.denoising_loss", losing_at(2, "shapes (2,) and (3,) do not fit"))
    with pytest.raises(RuntimeError, match="do not fit"):
        run(arguments("broken"))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first machine", "second process"])
def test_two_real_processes(tmp_path: Path, arguments: Arguments, lost: str) -> None:
    out, log, steps = tmp_path / "lost", tmp_path / "log", ["--train.steps=40"]
    run(arguments("straight", *steps))
    command = ["-m", "train", *arguments("lost", *steps, "--run.save_every=100", "--run.peer_timeout=60")]
    starts = launchers(LOOPBACK) if lost == "first machine" else [TORCHRUN]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with ExitStack() as stack:
        nodes = []
        for start in starts:
            sink = stack.enter_context(log.open("ab"))  # of both: what they say is told apart by the rank
            node = subprocess.Popen(
                [*start, *command], cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=sink
            )
            nodes.append(stack.enter_context(node))
            stack.callback(kill, node)
        wait_for_steps(nodes[0], out, 3)
        if lost == "first machine":
            kill(nodes[0])
        else:
            trainers = psutil.Process(nodes[0].pid).children()
            next(trainer for trainer in trainers if trainer.environ()["RANK"] == "1").kill()
        assert nodes[-1].wait(timeout=200) == (1 if lost == "first machine" else 137)
    survivor = 1 if lost == "first machine" else 0
    found = re.search(rf"error: process {survivor}: another process was lost after step (\d+)", log.read_text())
    assert found, log.read_text()[-3000:]
    (saved,) = steps_in(out / "checkpoints")
    assert (saved.name, fault_of(saved)) == (f"step-{int(found[1]):08d}", None)
    run(arguments("lost", *steps))
    straight, resumed = (
        {line["step"]: line for line in read_metrics(tmp_path / name)} for name in ("straight", "lost")
    )
    assert len(resumed) >= 39  # the first process may have taken a line with it
    for step, line in resumed.items():
        assert line["loss"] == pytest.approx(straight[step]["loss"], rel=1e-5)
        assert line["fingerprint"] == straight[step]["fingerprint"]
