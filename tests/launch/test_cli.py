"""The `pre2post` command: help that teaches, errors without tracebacks."""

import errno
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import pytest

from data.errors import DataError
from launch.cli import COMMANDS, ROOT, load, main, signature


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pre2post", *arguments])
    return main()


def stand_in(monkeypatch: pytest.MonkeyPatch, build: Callable[..., None]) -> None:
    """Another function behind `pre2post build`."""
    monkeypatch.setattr("data.build.build", build)
    monkeypatch.setattr("launch.cli.signature", lambda _: build)


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
    words = {one.name for one in inspect.signature(load(name)).parameters.values() if one.kind is not one.KEYWORD_ONLY}
    assert all(("" if option in words else "--") + option.replace("_", "-") in printed for option in options)
    assert not re.search(r"--\w*_", printed)  # options are spelled with dashes


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_read_from_the_source_are_those_of_the_function(name: str) -> None:
    assert inspect.signature(signature(name)) == inspect.signature(load(name))
    assert signature(name).__doc__ == load(name).__doc__


SLOW = {"torch", "diffusers", "transformers", "datasets"}
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], *sys.argv[2:], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as end:
    print("\\nstatus", end.code, *sys.modules)
"""


@pytest.mark.parametrize(
    "words", [*(["launch.cli", name] for name in COMMANDS), ["train"], ["train.tiny"]], ids=" ".join
)
def test_help_waits_for_no_networks(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", HELP, *words], capture_output=True, text=True, check=True)
    printed, _, imported = done.stdout.rpartition("\nstatus 0 ")
    assert printed.startswith("usage: ") and done.stderr == ""
    assert "jsonargparse" in imported.split() and not SLOW & set(imported.split())


def test_a_flag_needs_no_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def build(*, out: Path, split_by: str = "official", overwrite: bool = False) -> None:
        """Stands for the builder."""
        seen.update(out=out, split_by=split_by, overwrite=overwrite)

    stand_in(monkeypatch, build)
    assert call(monkeypatch, "build", "--out", "x", "--split-by", "event", "--overwrite") == 0
    assert seen == {"out": Path("x"), "split_by": "event", "overwrite": True}


def test_an_unknown_command_shows_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "bild") == 2
    assert "there is no `pre2post bild`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--study foo", "--study is foo; expected prompts or words."),
        ("--limit many", "--limit is many; expected a whole number."),
        ("--guidance-scale x", "--guidance-scale is x; expected a number."),
        ("--precison fp32", "--precison: no such option. Did you mean --precision?"),
        ("--precision fp8", "--precision is fp8; expected fp32 or bf16."),
        ("--study", "argument --study: expected one argument"),
    ],
)
def test_a_wrong_option_is_named_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, "evaluate", "--checkpoint", "c", "--dataset", "d", "--out", "o", *words.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {said}\n`pre2post evaluate --help` explains the options.\n"


def test_options_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, "damage-model", "--split", "train")
    assert capsys.readouterr().err.startswith("error: --dataset, --out must be given.\n")


def test_the_version_names_package_and_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    declared = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared and capsys.readouterr().out.startswith(f"pre2post {declared[1]} ({head.strip() or 'unknown'}")


def test_a_mistake_is_one_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "build", "--source", "/nowhere", "--out", "/tmp/never") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: source /nowhere does not exist")
    assert "Traceback" not in printed


@dataclass(frozen=True)
class Where:
    base: str = "tiny"


def test_a_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def build(*, out: Path, source: Path | None = None, where: Where = Where()) -> None:
        """Stands for any command."""
        seen.update(out=out, source=source, base=where.base)

    monkeypatch.setenv("HOME", "/home/eva")
    stand_in(monkeypatch, build)
    assert call(monkeypatch, "build", "--out=~/runs/d", "--source", "~/xbd", "--base=~/base") == 0
    assert seen == {"out": Path("/home/eva/runs/d"), "source": Path("/home/eva/xbd"), "base": "/home/eva/base"}


class SafetensorError(Exception): ...


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/d"), "error: /x/d: the disk is full. Free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "error: /x: no permission. Change the permissions"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "error: the disk is full."),
        (DataError("Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                   '  File "x.py", line 1, in y\ndata.errors.DataError: a.png: cut off. Copy it again.'),
         "error: a.png: cut off. Copy it again.\n"),
    ],
)  # fmt: skip
def test_whatever_a_disk_or_a_worker_says_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, right: str
) -> None:
    def build(*, out: Path) -> None:
        """Stands for any command."""
        raise error

    stand_in(monkeypatch, build)
    assert call(monkeypatch, "build", "--out", "x") == 2
    printed = capsys.readouterr().err
    assert printed.startswith(right) and printed.count("\n") == 1


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*, out: Path) -> None:
        """Stands for any command."""
        raise KeyError("ours")

    stand_in(monkeypatch, build)
    with pytest.raises(KeyError):
        call(monkeypatch, "build", "--out", "x")
