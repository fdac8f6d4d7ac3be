"""`pre2post doctor`: what it finds, and that it says no when training would fail."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from launch import doctor as room
from launch.doctor import DoctorError, doctor

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(room.socket, "create_connection", refuse)
    monkeypatch.setattr(room.constants, "HF_HUB_OFFLINE", False)


def test_a_machine_that_can_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(folder=tmp_path / "not" / "yet")
    printed = capsys.readouterr().out
    assert printed.endswith("Ready to train.\n")
    assert f"torch {torch.__version__.partition('+')[0]}" in printed
    assert "huggingface.co does not answer (no route)" in printed
    assert str(tmp_path) in printed


def test_a_container_without_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = shutil.disk_usage
    small = Usage(64e6, 0, 64e6)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: small if Path(path) == Path("/dev/shm") else real(path))
    with pytest.raises(DoctorError, match="mend shared memory first"):
        doctor(folder=tmp_path)
    assert "0.06 GB free in /dev/shm; start the container with --shm-size=8g" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room.os, "access", lambda path, mode: False)
    with pytest.raises(DoctorError, match="mend disk first"):
        doctor(folder=tmp_path)
    assert f"{tmp_path} cannot be written by you" in capsys.readouterr().out


def test_threads_left_idle_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(room.torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(room.torch.cuda, "is_available", lambda: False)
    (finding,) = room.threads()
    assert (finding.state, finding.text.partition(":")[0]) == ("note", "1 per process, 4 cores")
