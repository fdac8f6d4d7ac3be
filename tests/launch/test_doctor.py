"""`pre2post doctor`: what it finds, and that it says no when training would fail."""

import errno
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from rasterio.errors import CRSError

from launch.doctor import DoctorError, disk, doctor, threads
from tests.disks import Disk

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


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
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small if Path(path) == Path("/dev/shm") else real(path))
    with pytest.raises(DoctorError, match="fix shared memory first"):
        doctor(folder=tmp_path)
    assert "0.06 GB free in /dev/shm; start the container with --shm-size=8g" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Disk(monkeypatch, tmp_path).without("mkdir", errno.EROFS)
    with pytest.raises(DoctorError, match="fix disk first"):
        doctor(folder=tmp_path)
    assert f"{tmp_path}: this disk is read-only. Name a folder on another one." in capsys.readouterr().out


def test_threads_left_idle_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (finding,) = threads()
    assert (finding.state, finding.text.partition(":")[0]) == ("note", "1 per process, 4 cores")


def test_what_a_disk_cannot_do_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Disk(monkeypatch, tmp_path)
    played.without_locks()
    played.without_links()
    played.without("fsync", errno.EINVAL)
    found = [finding for finding in disk(tmp_path) if finding.state == "note"]
    assert [finding.text.partition(":")[0] for finding in found][-3:] == [
        "has no locks", "has no symbolic links", "cannot flush folders"
    ]  # fmt: skip


def test_the_files_of_another_proj(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(_: int) -> None:
        raise CRSError("no database context specified")

    monkeypatch.setattr("data.imagery.geo.CRS", SimpleNamespace(from_epsg=unknown))
    monkeypatch.setenv("PROJ_LIB", "/opt/conda/share/proj")
    with pytest.raises(DoctorError, match="PROJ"):
        doctor(folder=tmp_path)
    assert "PROJ cannot read its database (PROJ_LIB=/opt/conda/share/proj). Unset it" in capsys.readouterr().out
