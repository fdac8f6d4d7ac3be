"""Make a set in a process of its own that is killed while it writes: python -m tests.generate.region.killed ..."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from data import storage
from generate.region import make
from generate.region.run import make_set
from generate.sampling import Sampling


def main(plan: Path, run: Path, out: Path, killed_at: int) -> None:
    """Killed at file number `killed_at` that it writes into the release, half of it written; 0 = never."""
    written, whole = 0, storage.whole

    def counted(path: Path) -> Any:
        nonlocal written
        written += 1
        if written == killed_at:
            path.with_name(f".{path.name}.partial").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(path)

    make.whole = counted  # type: ignore[attr-defined]
    sampling = Sampling(steps=1, batch_size=16)
    make_set(plan, run, out, shard=None, base=None, judging=None, remakes=3, geotiff=True, sampling=sampling)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
