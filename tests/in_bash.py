"""Commands as pages have them: in bash, word for word, but ours run in this process, which has imported torch."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from accelerate.state import AcceleratorState

import train.__main__
from launch.cli import main

END = "\x01"  # after the words of a command
# Stands for a command: hands its words to this process, waits for the status and ends with it.
STAND_IN = f"""#!/bin/bash
printf '%s\\0' "${{0##*/}}" "$@" $'{END}' >&"$ASK"
read -r status <&"$ANSWER"
exit "$status"
"""


def run_script(
    script: str, folder: Path, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, Sequence[str]] = {}
) -> str:
    """Run a script in a folder, stopping at its first error; what other programs printed.

    Args:
        script: `pre2post ...` and `python -m train ...` are called here, whatever else there is by bash.
        folder: where it runs.
        monkeypatch: changes folder and arguments.
        more: options that are added to `train` or a command of pre2post.
    """
    programs, printed = folder.with_name(f"{folder.name}-programs"), folder.with_name(f"{folder.name}-printed")
    programs.mkdir()
    for name in ("pre2post", "python"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    monkeypatch.chdir(folder)
    asked, ask = os.pipe()
    answer, answered = os.pipe()
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "ASK": str(ask), "ANSWER": str(answer)}
    with (
        printed.open("w") as output,
        os.fdopen(asked, "rb") as commands,
        subprocess.Popen(
            ["bash", "-euc", script], cwd=folder, env=environment, pass_fds=(ask, answer), stdout=output
        ) as bash,
    ):
        os.close(ask)  # so that they end with bash
        os.close(answer)
        for words in _words(commands):
            status = _called(words, monkeypatch, more)
            os.write(answered, b"%d\n" % status)
        assert bash.wait() == 0, printed.read_text()
    os.close(answered)
    return printed.read_text()


def _words(commands: BinaryIO) -> Iterator[list[str]]:
    words: list[str] = []
    word = bytearray()
    while byte := commands.read(1):
        word += byte
        if byte == b"\0":
            words.append(word[:-1].decode())
            word.clear()
        if words and words[-1] == END:
            yield words[:-1]
            words = []


def _called(words: list[str], monkeypatch: pytest.MonkeyPatch, more: Mapping[str, Sequence[str]]) -> int:
    trains = words[:3] == ["python", "-m", "train"]
    assert trains or words[0] == "pre2post", words
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a process of its own
    argv = words[2:] if trains else words
    monkeypatch.setattr(sys, "argv", [*argv, *more.get("train" if trains else words[1], [])])
    return train.__main__.main() if trains else main()
