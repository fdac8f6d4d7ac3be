"""Kill `pre2post region` repeatedly, alone and in pairs: is the set byte-identical to one made without trouble?

    python -m benchmarks.resume.kill_region --work WORK --plan PLAN --checkpoint RUN --steps 6

What follows the options below is passed to `pre2post region`. Every kill is SIGKILL at a random moment after the start;
every other time two commands make the set at once, and so they do at the end.
"""

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

from data.storage import sha256


def main() -> None:
    """Make the set twice, once killed, and compare.

    Raises:
        SystemExit: a file differs.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the kill times")
    options, region = parser.parse_known_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rng, began = random.Random(options.seed), time.monotonic()
    make(options.work, "straight", region)
    seconds = time.monotonic() - began
    print(f"uninterrupted: {seconds:.0f} s", flush=True)
    for number in range(options.kills):
        after, commands = rng.uniform(0, 2 * seconds / options.kills), 1 + number % 2
        make(options.work, "killed", region, commands, after)
        pairs = len(list((options.work / "killed").glob("train/images/*_post_disaster.png")))
        print(f"kill {number + 1:2}: {commands} command(s) after {after:.0f} s, {pairs} pairs are there", flush=True)
    make(options.work, "killed", region, 2)
    one, other = (hashes(options.work / name) for name in ("straight", "killed"))
    differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one)} files, {len(differing)} differ")
    if differing:
        raise SystemExit(f"the sets differ: {', '.join(differing[:5])}")


def make(work: Path, out: str, region: list[str], commands: int = 1, kill_after: float | None = None) -> None:
    """Make `work / out`, by so many commands at once, to the end or until killed."""
    command = [sys.executable, "-m", "launch.cli", "region", *region, "--out", str(work / out)]
    with (work / f"{out}.log").open("ab") as log:
        running = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(commands)]
        if kill_after is not None:
            time.sleep(kill_after)
            for process in running:
                process.kill()
        statuses = [process.wait() for process in running]
    if kill_after is None and any(statuses):
        raise SystemExit(f"statuses {statuses}; see {work / out}.log")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    main()
