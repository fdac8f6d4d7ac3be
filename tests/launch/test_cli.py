"""The `pre2post` command: help that teaches, errors without tracebacks."""

import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from launch.cli import COMMANDS, load, main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pre2post", *arguments])
    return main()


def test_the_overview_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, name, "--help")
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    options = {option: kind for option, kind in load(name).__annotations__.items() if option != "return"}
    groups = [option for option, kind in options.items() if is_dataclass(kind)]
    for group in groups:  # its fields stand among the other options
        options |= {field.name: None for field in fields(options.pop(group))}
    assert all("--" + option.replace("_", "-") in printed for option in options)
    assert not re.search(r"--\w*_", printed)  # options are spelled with dashes


def test_a_flag_needs_no_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def build(*, out: Path, split_by: str = "official", overwrite: bool = False) -> None:
        """Stands for the builder."""
        seen.update(out=out, split_by=split_by, overwrite=overwrite)

    monkeypatch.setattr("data.build.build", build)
    assert call(monkeypatch, "build", "--out", "x", "--split-by", "event", "--overwrite") == 0
    assert seen == {"out": Path("x"), "split_by": "event", "overwrite": True}


def test_an_unknown_command_shows_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "bild") == 2
    assert "there is no `pre2post bild`" in capsys.readouterr().err


def test_a_mistake_is_one_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "build", "--source", "/nowhere", "--out", "/tmp/never") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: source /nowhere does not exist")
    assert "Traceback" not in printed
