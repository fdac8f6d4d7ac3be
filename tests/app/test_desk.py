"""One job at a time, each in a folder that goes when its visitor does, or has more made."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import AppError
from app.models import Models
from app.picks import Picks
from app.work import Made
from data.errors import DataError
from generate.errors import GenerateError
from models.checkpoint import CheckpointError

gr = pytest.importorskip("gradio", reason="the extra `app` is not installed")
desk_module = pytest.importorskip("app.desk")

Work = Callable[[Path, Callable[[float], object]], object]


@pytest.fixture
def desk(models: Models, picks: Picks, tmp_path: Path) -> Any:
    return desk_module.Desk(models, picks, tmp_path)


def working(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    """Stands for what makes images."""

    def make(order: Any, models: Any, picks: Any, folder: Path, on_share: Callable[[float], object]) -> Made:
        (folder / "image.png").write_bytes(b"x")
        work(folder, on_share)
        return Made(folder, None, [], [], [], [])

    monkeypatch.setattr(desk_module, "make", make)


def jobs(desk: Any) -> list[str]:
    return sorted(path.name for path in (desk.folder / "jobs").iterdir())


def serve(desk: Any, visitor: str, shares: list[float] | None = None) -> Made:
    made: Made = desk.serve(visitor, lambda: None, (shares if shares is not None else []).append)
    return made


def test_only_the_last_job_of_a_visitor_is_kept(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    working(monkeypatch, lambda folder, on_share: on_share(0.5))
    shares: list[float] = []
    for visitor in ("anna", "ben", "anna"):
        serve(desk, visitor, shares)
    assert jobs(desk) == ["000001", "000002"]  # ben's only, anna's second
    desk.leave("ben")
    assert jobs(desk) == ["000002"]
    assert shares == [0.5, 1.0] * 3


def test_the_disk_does_not_fill_up_with_visitors_who_never_leave(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    working(monkeypatch, lambda folder, on_share: None)
    for i in range(desk_module.MOST_KEPT + 3):
        serve(desk, f"visitor {i}")
    assert len(jobs(desk)) == desk_module.MOST_KEPT and jobs(desk)[0] == "000003"


@pytest.mark.parametrize("way", ["cancel", "leave"])
def test_a_job_ends_at_its_next_step(desk: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """And takes its folder along; the others go on."""
    reached: list[float] = []

    def work(folder: Path, on_share: Callable[[float], object]) -> None:
        on_share(0.25)
        getattr(desk, way)("anna")
        getattr(desk, way)("nobody")
        on_share(0.5)
        raise AssertionError("not cancelled")

    working(monkeypatch, work)
    with pytest.raises(gr.Error, match="Cancelled"):
        serve(desk, "anna", reached)
    assert reached == [0.25] and jobs(desk) == []
    working(monkeypatch, lambda folder, on_share: None)
    serve(desk, "anna")
    assert jobs(desk) == ["000001"]


@pytest.mark.parametrize(
    "error",
    [AppError("x <b> y"), GenerateError("x <b> y"), DataError("x <b> y"), CheckpointError("x <b> y")],
    ids=lambda error: type(error).__name__,
)
def test_a_mistake_is_a_message_in_the_page(desk: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Which cannot bring markup along; an earlier result stays."""
    working(monkeypatch, lambda folder, on_share: None)
    serve(desk, "anna")

    def work(folder: Path, on_share: Callable[[float], object]) -> None:
        raise error

    working(monkeypatch, work)
    with pytest.raises(gr.Error) as raised:
        serve(desk, "anna")
    assert raised.value.message == "x &lt;b&gt; y" and not raised.value.print_exception
    assert jobs(desk) == ["000000"]


def test_limits_of_the_machine_are_messages(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, text in ((MemoryError(), "too little memory"), (OSError(28, "No space left", "d"), "the disk is full")):

        def work(folder: Path, on_share: Callable[[float], object], error: Exception = error) -> None:
            raise error

        working(monkeypatch, work)
        with pytest.raises(gr.Error, match=text):
            serve(desk, "anna")


def test_two_visitors_take_turns(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins only when the first has ended, though it came while the first was at work."""
    order: list[str] = []
    inside, ben = threading.Event(), threading.Thread(target=lambda: serve(desk, "ben"))

    def work(folder: Path, on_share: Callable[[float], object]) -> None:
        order.append(f"begin {folder.name}")
        if not inside.is_set():
            inside.set()
            ben.start()
        on_share(0.5)
        order.append(f"end {folder.name}")

    working(monkeypatch, work)
    serve(desk, "anna")
    ben.join()
    assert order == ["begin 000000", "end 000000", "begin 000001", "end 000001"]
