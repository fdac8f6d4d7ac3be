"""Kill a training repeatedly: is its result bit-identical to that of an uninterrupted one?

    python -m benchmarks.resume.kill_test --work WORK --kills 20

A kill is SIGKILL at a random moment: anywhere, while a checkpoint is written, or during validation, in turn. The same
command follows, which resumes from the newest valid checkpoint. Every run is a separate process, forked from one that
has imported everything, so that startup takes one second instead of ten.
"""

import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path

from jsonargparse import auto_cli

from benchmarks.small_runs import metrics, settings, weight_files, write_world
from models.checkpoint import newest_valid, steps_in
from train.__main__ import main as train

STEPS = 200
KINDS = ("anywhere", "saving", "validating")
FORK = multiprocessing.get_context("fork")


def kill_test(*, work: Path, kills: int = 20, seed: int = 0) -> None:
    """Compare a killed run with an uninterrupted one.

    Args:
        work: folder for everything.
        kills: number of kills.
        seed: of the kill times.

    Raises:
        SystemExit: a value differs.
    """
    rng = random.Random(seed)
    _finish(FORK.Process(target=write_world, args=(work,)))
    options = {
        "train__steps": STEPS,
        "run__save_every": 6,
        "validation__every": 15,
        "validation__examples": 3,
        "validation__images": 2,
        "validation__sampling_steps": 5,
    }
    began = time.monotonic()
    _finish(_run(settings(work, "straight", **options), work / "straight.log"))
    print(f"uninterrupted: {STEPS} steps, {time.monotonic() - began:.0f} s")
    arguments, hit = settings(work, "killed", **options), Counter[str]()
    for number in range(kills):
        kind = KINDS[number % len(KINDS)]
        what = _kill_once(arguments, work, kind, rng)
        hit[what] += 1
        newest = newest_valid(work / "killed/checkpoints", lambda note: print(f"    {note}"))
        print(f"kill {number + 1:2}: {kind:<10} hit {what:<10} newest complete checkpoint {newest and newest.name}")
    _finish(_run(arguments, work / "killed.log"))
    print(f"{kills} kills: {dict(hit)}")
    _compare(work)


def _run(arguments: list[str], log: Path) -> "multiprocessing.context.ForkProcess":
    """A training process, not yet started; its output goes to a file."""

    def target() -> None:
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.argv = arguments[1:]  # without `-m`
        sys.exit(train())

    return FORK.Process(target=target)


def _finish(process: "multiprocessing.context.ForkProcess") -> None:
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a run ended with status {process.exitcode}")


def _kill_once(arguments: list[str], work: Path, kind: str, rng: random.Random) -> str:
    """Start, wait for the kill time, kill; returns what the run was doing."""
    log, out = work / "killed.log", work / "killed"
    log.write_bytes(b"")
    process = _run(arguments, log)
    process.start()
    wanted = rng.randint(1, 2)  # number of the save or validation
    seen, was_there, began = 0, False, time.time()
    while process.is_alive() and not re.search(rb"train +\d+%", log.read_bytes()):
        time.sleep(0.01)
    until = time.monotonic() + rng.uniform(0, 3)
    while process.is_alive():
        there = {"anywhere": False, "saving": _is_saving(out, began), "validating": _is_validating(log)}[kind]
        seen, was_there = seen + (there and not was_there), there
        if (kind == "anywhere" and time.monotonic() > until) or (there and seen == wanted):
            time.sleep(rng.uniform(0, 0.02))
            break
    doing = "saving" if _is_saving(out, began) else "validating" if _is_validating(log) else "training"
    if not process.is_alive():
        doing = "nothing: it had ended"
    process.kill()
    process.join()
    return doing


def _is_saving(out: Path, began: float) -> bool:
    """Whether a checkpoint is being written, not counting leftovers of earlier kills."""
    for partial in (out / "checkpoints").glob(".step-*"):
        try:
            if partial.stat().st_mtime > began:
                return True
        except FileNotFoundError:  # it has just been completed
            continue
    return False


def _is_validating(log: Path) -> bool:
    """Whether the last progress bar is that of an unfinished validation."""
    bars = re.findall(rb"(train|validate) *:? +(\d+)%", log.read_bytes()[-2000:])
    return bool(bars) and bars[-1][0] == b"validate" and bars[-1][1] != b"100"


def _compare(work: Path) -> None:
    straight, killed = work / "straight", work / "killed"
    differing = []
    for name, path in weight_files(straight, STEPS).items():
        same = path.read_bytes() == weight_files(killed, STEPS)[name].read_bytes()
        print(f"{name}: {'bit-identical' if same else 'DIFFERS'}")
        differing += [] if same else [name]
    lines = sum(one == other for one, other in zip(metrics(straight), metrics(killed), strict=True))
    print(f"metrics.jsonl: {lines} of {len(metrics(straight))} lines equal (losses, fingerprints, validations)")
    kept = [[folder.name for folder in steps_in(out / "checkpoints")] for out in (straight, killed)]
    print(f"checkpoints kept: {kept[0]} and {kept[1]}")
    if differing or lines != len(metrics(straight)):
        raise SystemExit("the runs differ")


if __name__ == "__main__":
    auto_cli(kill_test, as_positional=False)
