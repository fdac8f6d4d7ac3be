"""Processes that would train different networks are found at the start."""

import re
import socket
from pathlib import Path

import pytest

from tests.forked import in_two_processes
from tests.train.conftest import Arguments


@pytest.mark.slow
def test_what_differs_between_processes_is_named(tmp_path: Path, arguments: Arguments) -> None:
    in_two_processes("tests.train.unequal_processes", str(tmp_path), *arguments("run"))
    said, other = ((tmp_path / f"said-{rank}").read_text().splitlines() for rank in (0, 1))
    # What only the first process met is told to the other, which would wait for ever.
    assert [lines.pop(2).partition(": ") for lines in (said, other)] == [
        (kind, ": ", "[Errno 28] No space left on device: 'run.json'") for kind in ("OSError", "TrainingError")
    ]
    assert said == other
    machine = re.escape(socket.gethostname())
    what = ("weights", "weights", "gradients of step 1")
    where = ("a", "b", r"controlnet\.\S+, controlnet\.\S+, controlnet\.\S+ and \d+ more")
    assert len(said) == 3  # and nothing where all is equal
    for message, kind, names in zip(said, what, where, strict=True):
        expected = rf"the {kind} of process 1 \(on {machine}\) differ from the others', in {names}\. "
        assert re.match(expected, message), message
    assert not (tmp_path / "run/checkpoints").exists()
