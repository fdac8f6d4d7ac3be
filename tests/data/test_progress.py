"""Bars live in a terminal; in a log file they are lines, and few."""

import io

import pytest

from data.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, every_s: float, **settings: object) -> str:
    """What a bar over three things prints, one of which tells how it goes."""
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr("data.progress.LOG_EVERY_S", every_s)
    bar = Bar([5, 6, 7], desc="count", unit="thing", mininterval=0, **settings)
    for thing in bar:
        bar.set_postfix_str(f"at {thing}")
    return stderr.getvalue()


def test_in_a_terminal_it_is_one_line_written_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), 0.0)
    assert text.startswith("\rcount:   0%") and text.endswith("\n") and text.count("\n") == 1


def test_in_a_log_file_it_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, io.StringIO(), 0.0)
    assert "\r" not in text
    lines = text.splitlines()
    assert len(lines) > 3 and all(line.startswith("count: ") for line in lines)
    assert "3/3" in lines[-1] and "at 7" in lines[-1]


def test_until_a_line_is_due_a_log_file_gets_only_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = shown(monkeypatch, io.StringIO(), 1e9).splitlines()
    assert line.startswith("count: 100%") and "3/3" in line


@pytest.mark.parametrize("settings", [{"leave": False}, {"delay": 1e9}, {"disable": True}])
def test_a_bar_that_is_to_leave_nothing_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    assert shown(monkeypatch, io.StringIO(), 1e9, **settings) == ""


def test_another_line_between_does_not_repeat_the_bar_in_a_log_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr("data.progress.LOG_EVERY_S", 1e9)
    with Bar(total=2, desc="count") as bar:
        Bar.write("a remark", file=stderr)
        bar.update(2)
    first, second = stderr.getvalue().splitlines()
    assert first == "a remark" and second.startswith("count: 100%")


def test_an_interrupted_bar_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with pytest.raises(KeyboardInterrupt), Bar(total=4, desc="count") as bar:
        bar.update(3)
        raise KeyboardInterrupt
    (line,) = stderr.getvalue().splitlines()
    assert "3/4" in line
