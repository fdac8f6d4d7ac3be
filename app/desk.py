"""The server's side of the page: every visitor's job, one at a time, in folders that are deleted after them."""

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import gradio as gr
import torch

from app.errors import AppError
from app.models import Models
from app.picks import Picks
from app.work import Made, Order, make
from data.errors import DataError, fault, plain
from generate.errors import GenerateError
from models import BaseError
from models.checkpoint import CheckpointError
from models.diffusionsat.metadata import MetadataError

MOST_KEPT = 32  # jobs whose files are kept, of visitors who have not left
EXPECTED = (AppError, GenerateError, DataError, BaseError, CheckpointError, MetadataError)


class Cancelled(Exception):
    """The visitor has cancelled the job, or has left."""


class Desk:
    """Takes orders."""

    def __init__(self, models: Models, picks: Picks, folder: Path) -> None:
        """Everything is written below `folder`."""
        self.models, self.picks, self.folder = models, picks, folder
        self._running: dict[str, threading.Event] = {}  # visitor -> to end the job
        self._kept: dict[str, Path] = {}  # visitor -> folder of the last job, the oldest first
        self._numbers = itertools.count()
        self._busy = threading.Lock()  # networks and sampler have state

    def serve(self, visitor: str, order: Callable[[], Order], on_share: Callable[[float], object]) -> Made:
        """Make what a visitor orders; then what was made for them before is deleted.

        Raises:
            gr.Error: it cannot be made, or they cancelled it.
        """
        with self._busy, said():
            cancelled = self._running[visitor] = threading.Event()

            def watch(share: float) -> None:
                if cancelled.is_set():
                    raise Cancelled
                on_share(share)

            folder = self.folder / "jobs" / f"{next(self._numbers):06d}"
            folder.mkdir(parents=True)
            try:
                made = make(order(), self.models, self.picks, folder, watch)
                watch(1.0)
            except BaseException:
                _delete(folder)
                raise
            finally:
                del self._running[visitor]
            _delete(self._kept.pop(visitor, None))
            self._kept[visitor] = folder
            while len(self._kept) > MOST_KEPT:
                _delete(self._kept.pop(next(iter(self._kept))))
            return made

    def cancel(self, visitor: str) -> None:
        """End the visitor's job at its next step."""
        if running := self._running.get(visitor):
            running.set()

    def leave(self, visitor: str) -> None:
        """End the visitor's job, and delete what was made for them."""
        self.cancel(visitor)
        _delete(self._kept.pop(visitor, None))


@contextmanager
def said() -> Iterator[None]:
    """One message in the page for whatever is a visitor's mistake or the machine's limit; faults of ours are logged."""
    try:
        yield
    except Cancelled:
        raise gr.Error("Cancelled.", duration=5, print_exception=False) from None
    except EXPECTED as error:
        raise gr.Error(escape(plain(error), quote=False), duration=None, print_exception=False) from None
    except (torch.OutOfMemoryError, MemoryError):
        text = "the machine has too little memory for this. Choose fewer images at once, or a smaller image."
        raise gr.Error(text, duration=None, print_exception=False) from None
    except OSError as error:
        raise gr.Error(escape(str(fault(error)), quote=False), duration=None, print_exception=False) from None


def _delete(folder: Path | None) -> None:
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
