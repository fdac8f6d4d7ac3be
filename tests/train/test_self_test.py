"""Processes that would train different networks are found at the start."""

import re
import socket
from pathlib import Path

import pytest

from tests.train.conftest import Arguments
from tests.worlds import torchrun


@pytest.mark.slow
def test_what_differs_between_processes_is_named(tmp_path: Path, arguments: Arguments) -> None:
    torchrun("tests.train.unequal_processes", str(tmp_path), *arguments("run"))
    said = (tmp_path / "said-0").read_text().splitlines()
    assert said == (tmp_path / "said-1").read_text().splitlines()
    machine = re.escape(socket.gethostname())
    what = ("weights", "weights", "gradients of step 1")
    where = ("a", "b", r"controlnet\.\S+, controlnet\.\S+, controlnet\.\S+ and \d+ more")
    assert len(said) == 3  # and nothing where all is equal
    for message, kind, names in zip(said, what, where, strict=True):
        expected = rf"the {kind} of process 1 \(on {machine}\) differ from the others', in {names}\. "
        assert re.match(expected, message), message
    assert not (tmp_path / "run/checkpoints").exists()
