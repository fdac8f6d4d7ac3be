"""Only regular files are opened: what would wait for ever is named instead."""

import os
import socket
from pathlib import Path

import pytest

from data.errors import DataError
from data.files import read_file
from data.imagery.raster import opened
from data.jsonl import read_lines
from data.sources.history import read_history


@pytest.fixture(params=["pipe", "socket", "device", "folder"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something with the name of an image that is none; reading the first would never end."""
    monkeypatch.chdir(tmp_path)  # a socket's path may have 108 characters
    path = Path("image.png")
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the socket's
def test_every_reader_names_what_is_no_file(no_file: Path) -> None:
    def read_image(path: Path) -> None:
        with opened(path):
            pass

    for read in (read_file, read_history, lambda path: read_lines(path, "manifest"), read_image):
        with pytest.raises(DataError, match=r"image\.png: is a .*, expected a file"):
            read(no_file)


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\x01")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "link") == b"\x00\x01"
    with pytest.raises(DataError, match=r"captions .*b: cannot be read \(No such file"):
        read_file(tmp_path / "b", "captions")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": "\ufeff"}\n\n{"b": 1}', encoding="utf-8-sig")  # at the start only
    assert read_lines(path, "manifest") == [(1, '{"a": "\ufeff"}'), (3, '{"b": 1}')]
