"""Speed-up of two single-threaded processes over one, on two cores.

    python -m benchmarks.speed.processes --work WORK

The trainer itself and the tiny base; the same examples in every step for any number of processes. The cost of two
is an all-reduce of gradients and the work both repeat (clipping, AdamW, EMA), once per step: a larger global batch
loses less. For comparison, the machine's upper bound: two independent trainings.

All run at once, with all but one of the three halted: they alternate every few seconds, since a shared machine's
speed varies by a third from minute to minute.
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from jsonargparse import auto_cli

from benchmarks.results import RESULTS, write_section
from benchmarks.small_runs import Process, family, kill, settings, start, write_world
from benchmarks.watch import LOOK_EVERY_S
from train.saving.run_files import METRICS

MICRO_BATCH = 4
LOGGED = 32  # examples per line of metrics.jsonl
LINES = 3  # per turn; the line in which it was halted does not count
NEVER = 100_000  # steps


@dataclass(frozen=True)
class Trainings:
    """Trainings that run at the same time."""

    started: list[Process]
    outs: list[Path]

    def halt(self) -> None:
        """Suspend all their processes."""
        for member in self._members():
            member.suspend()

    def turn(self) -> float:
        """Let them run for LINES lines each; returns examples per second, summed."""
        for member in self._members():
            member.resume()
        before = [lines(out) for out in self.outs]
        times: list[list[float]] = [[] for _ in self.outs]
        while any(len(seen) <= LINES for seen in times):
            if any(process.poll() is not None for process in self.started):
                raise RuntimeError("a training ended; see processes.log")
            time.sleep(LOOK_EVERY_S)
            now = time.perf_counter()
            for out, seen, old in zip(self.outs, times, before, strict=True):
                seen += [now] * (lines(out) - old - len(seen))
        self.halt()
        return sum(LINES * LOGGED / (seen[LINES] - seen[0]) for seen in times)

    def end(self) -> None:
        """Kill them."""
        for process in self.started:
            kill(process)
            process.wait()

    def _members(self) -> list[psutil.Process]:
        return [member for process in self.started for member in family(process)]


def processes(
    *, work: Path, batches: Sequence[int] = (8, 32), turns: int = 9, resolution: int = 128, results: Path = RESULTS
) -> None:
    """Write a section with the examples per second of each, and relative to one process.

    Args:
        work: folder for everything.
        batches: examples per optimizer step.
        turns: of each kind.
        resolution: px.
        results: the file to write to.
    """
    write_world(work)
    shutil.rmtree(work / "runs", ignore_errors=True)
    rows = [
        "| global batch | processes | examples/s, median (min to max) | relative to one, median (each turn) |",
        "|---:|---|---|---|",
    ]
    for batch in batches:
        rates = measured(work, batch, turns, resolution)
        for name, found in rates.items():
            beside = [rate / one for rate, one in zip(found, rates["one"], strict=True)]
            each = ", ".join(f"{ratio:.2f}" for ratio in beside)
            spread = f"{median(found):.1f} ({min(found):.1f} to {max(found):.1f})"
            rows.append(f"| {batch} | {name} | {spread} | {median(beside):.2f} ({each}) |")
    write_section(f"Processes of one thread: tiny, {resolution} px", "\n".join(rows), results)


def measured(work: Path, batch: int, turns: int, resolution: int) -> dict[str, list[float]]:
    """Examples per second of each kind in each turn."""
    kinds: dict[str, Trainings] = {}
    with ExitStack() as stack:
        for name, folders, number in (("one", 1, 1), ("two, joined", 1, 2), ("two, apart", 2, 1)):
            outs = [work / f"runs/{batch}-{name.split()[-1]}-{i}" for i in range(folders)]
            log = work / "processes.log"
            started = [start(arguments(work, out, batch, resolution), number, log) for out in outs]
            kinds[name] = Trainings(started, outs)
            stack.callback(kinds[name].end)
            kinds[name].turn()  # not counted: it starts up and fills the cache
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(turns):
            for name, trainings in kinds.items():
                rates[name].append(trainings.turn())
    return rates


def lines(out: Path) -> int:
    """Number of lines that a run has written so far."""
    path = out / METRICS
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def arguments(work: Path, out: Path, batch: int, resolution: int) -> list[str]:
    """A training of the tiny base; the micro-batch is the same everywhere."""
    more = {
        "train__steps": NEVER,
        "train__global_batch": batch,
        "train__micro_batch": MICRO_BATCH,
        "data__resolution": resolution,
        "model__base": "tiny",
        "run__save_every": NEVER,
        "run__resume": "never",
        "run__log_every": LOGGED // batch,
    }
    return settings(work, str(out.relative_to(work)), **more)


if __name__ == "__main__":
    auto_cli(processes, as_positional=False)
