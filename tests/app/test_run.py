"""Who may enter, and what is said before anything is opened."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from app.errors import AppError
from app.models import Models
from app.picks import Picks
from app.run import app, contain, read_users


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": True}, "--share opens the page to others: it needs --auth"),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 opens the page to others: it needs --auth"),
    ],
)
def test_the_page_is_not_opened_to_others_without_passwords(options: dict[str, Any], said: str) -> None:
    with pytest.raises(AppError, match=said):
        app(**options)


def test_names_and_passwords(tmp_path: Path) -> None:
    """A password may hold colons and blanks."""
    file = tmp_path / "users"
    file.write_text("anna:a:b c\n\nben: x\n")
    assert read_users(file) == [("anna", "a:b c"), ("ben", " x")]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"anna\n", "entry 1"), (b"a:b\n:c\n", "entry 2"), (b"\xff", "cannot be read")],
)
def test_a_file_of_passwords_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "users").write_bytes(content)
    with pytest.raises(AppError, match=said):
        app(auth=tmp_path / "users", share=True)


def test_without_gradio_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.run.importlib.util.find_spec", lambda name: None)
    with pytest.raises(AppError, match=r"needs Gradio.*pip install -e '\.\[app\]'"):
        app()


@pytest.mark.filterwarnings("default")  # of sockets that Gradio leaves
def test_a_port_in_use(tmp_path: Path, models: Models, picks: Picks) -> None:
    page = pytest.importorskip("app.page", reason="the extra `app` is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AppError, match=f"port {port} of 127.0.0.1 cannot be used"):
            page.launched(models, picks, tmp_path, host="127.0.0.1", port=port, users=None, share=False)


def test_everything_is_written_into_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(tempfile, "tempdir", None)
    contain(tmp_path)
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "cache")
