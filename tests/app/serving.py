"""A page that runs in the process of the tests, in a folder of its own."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.models import Models
from app.picks import Picks
from app.run import contain


@contextmanager
def serving(models: Models, picks: Picks, folder: Path) -> Iterator[str]:
    """The address of the page; afterwards the process writes where it did before."""
    from app.page import launched  # Gradio is an extra

    kept = {name: os.environ.get(name) for name in ("TMPDIR", "GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED")}
    before = tempfile.tempdir
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    contain(folder)
    blocks = launched(models, picks, folder, host="127.0.0.1", port=port, users=None, share=False)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        blocks.close()
        tempfile.tempdir = before
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
