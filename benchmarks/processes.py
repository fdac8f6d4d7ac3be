"""Two processes of one thread against one process of one thread, on two cores: how many more examples a second?

    python -m benchmarks.processes --work WORK

The trainer itself, the tiny base, a global batch of 8. Beside it what the machine gives at most: two such trainings
that know nothing of each other. The three are measured in turns.
"""

import json
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from jsonargparse import auto_cli

from benchmarks.results import RESULTS, write_section
from benchmarks.small_runs import settings, start, write_world

LOGGED = 4  # steps of a line of metrics.jsonl
SETTLING = 2  # lines at the start that do not count


def processes(
    *, work: Path, steps: int = 40, rounds: int = 2, resolution: int = 128, results: Path = RESULTS
) -> dict[str, float]:
    """Write a section with the examples a second of each, and the ratios.

    Args:
        work: folder for everything.
        steps: of each training.
        rounds: trainings of each kind.
        resolution: px.
        results: the file to write to.
    """
    write_world(work)
    shutil.rmtree(work / "runs", ignore_errors=True)
    rates: dict[str, list[float]] = {"one": [], "two, joined": [], "two, apart": []}
    for number in range(rounds + 1):
        counted = number > 0  # the first round fills the cache
        more = {"train__steps": steps if counted else 2, "data__resolution": resolution}
        runs = [work / f"runs/{number}-{name}" for name in ("one", "joined", "apart-0", "apart-1")]
        alone, joined, *apart = (arguments(work, run, **more) for run in runs)
        wait([start(alone, log=work / "processes.log")])
        if counted:
            wait([start(joined, 2, log=work / "processes.log")])
            wait([start(each, log=work / "processes.log") for each in apart])
            one, two, *both = map(examples_per_second, runs)
            for name, rate in zip(rates, (one, two, sum(both)), strict=True):
                rates[name].append(rate)
    middle = {name: median(found) for name, found in rates.items()}
    rows = ["| processes | examples/s, median (each turn) | beside one |", "|---|---|---:|"]
    for name, found in rates.items():
        each = ", ".join(f"{rate:.2f}" for rate in found)
        rows.append(f"| {name} | {middle[name]:.2f} ({each}) | {middle[name] / middle['one']:.2f} |")
    write_section(f"Processes of one thread: tiny, {resolution} px, global batch 8", "\n".join(rows), results)
    return middle


def arguments(work: Path, out: Path, **more: Any) -> list[str]:  # noqa: ANN401 (any setting)
    """A training of the tiny base, two micro-batches of 4 in one process or one in each of two."""
    values = {"train__global_batch": 8, "train__micro_batch": 4, "model__base": "tiny", "run__save_every": 10_000}
    return settings(work, str(out.relative_to(work)), **values, **more, run__resume="never", run__log_every=LOGGED)


def wait(trainings: list[Any]) -> None:
    """Until all have ended.

    Raises:
        RuntimeError: one has failed.
    """
    if any([training.wait() for training in trainings]):
        raise RuntimeError("a training failed; see processes.log")


def examples_per_second(out: Path) -> float:
    """Median over the lines of a run."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return float(median(line["examples_per_second"] for line in lines[SETTLING:]))


if __name__ == "__main__":
    auto_cli(processes, as_positional=False)
