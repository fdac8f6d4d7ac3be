"""A program that writes metrics.jsonl, in a separate process, watched until it has written enough."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.saving.run_files import METRICS

LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class Watched:
    """Measurements of one process; lists have a value for every line of its metrics."""

    start_up_s: float  # from its start until its first step began
    example_s: list[float]  # seconds per example
    data_wait: list[float]  # share of the time, 0..1
    peak_memory_gb: float


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def watch(arguments: Sequence[str], work: Path, *, lines: int, batch: int) -> Watched:
    """Start a module in a new folder, wait for `lines` lines of metrics, and stop it: nothing is saved.

    Args:
        arguments: module, the option that names the folder to write to, other arguments.
        work: where the folder is created.
        lines: of metrics.
        batch: examples per step.

    Raises:
        SystemExit: it ended by itself; the message has its output.
    """
    module, out, *others = arguments
    with tempfile.TemporaryDirectory(prefix="run-", dir=work, ignore_cleanup_errors=True) as folder:
        run, log = Path(folder) / "run", Path(folder) / "log"
        written, first_s, started = "", 0.0, time.perf_counter()
        with log.open("w") as file:
            command = [sys.executable, "-m", module, f"{out}={run}", *others]
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            while written.count("\n") < lines:
                if process.poll() is not None:
                    raise SystemExit(f"{module} ended too early.\n{log.read_text()[-3000:]}")
                time.sleep(LOOK_EVERY_S)
                written = (run / METRICS).read_text() if (run / METRICS).is_file() else ""
                first_s = first_s or (time.perf_counter() - started) * ("\n" in written)
        finally:
            process.kill()
            process.wait()
    metrics = [json.loads(line) for line in written.splitlines()[:lines]]
    example_s = [1 / line["examples_per_second"] for line in metrics]
    return Watched(
        start_up_s=first_s - metrics[0]["step"] * batch * example_s[0],
        example_s=example_s,
        data_wait=[line["data_wait"] for line in metrics],
        peak_memory_gb=metrics[-1]["peak_memory_gb"],
    )
