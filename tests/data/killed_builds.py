"""Kill a build at many moments, run it again each time, and print what came of it: test_resume.py.

    python killed_builds.py RELEASE FOLDER KILLS

A process of its own forks every build, so that the imports are paid for once. A build kills itself with SIGKILL at the
n-th time that it opens a file to write, renames, makes or removes anything near its output, or adds to a shard.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import data.dataset.pieces
from data.build import build
from data.dataset.rows import build_scene

EVENTS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")


def main() -> None:
    release, folder, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    data.dataset.pieces.SCENES_PER_SHARD = 1
    count = folder / "count"
    forked(lambda: run(release, folder / "whole", overwrite=False, count=count))
    total = int(count.read_text())
    report = []
    for i in range(kills):
        moment = 1 + i * (total - 1) // (kills - 1)
        out = folder / f"d{i}"
        status = forked(lambda out=out, moment=moment: run(release, out, overwrite=False, kill_at=moment))
        finished = len(list(folder.glob(f".d{i}.partial/records/*.json")))
        again = folder / f"again{i}"
        whole = out.exists()
        resumed = forked(lambda out=out, again=again: run(release, out, overwrite=False, log=again))
        built = len(again.read_text().split()) if again.exists() else 0
        outcome = {"moment": moment, "status": status, "records": finished, "resumed": resumed, "built": built}
        report.append(outcome | {"whole": whole})
    print(json.dumps({"total": total, "kills": report}))


def forked(job: Any) -> int:
    """Run in a child; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            job()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(
    release: Path,
    out: Path,
    *,
    overwrite: bool,
    kill_at: int = 0,
    count: Path | None = None,
    log: Path | None = None,
) -> None:
    """Build; kill this process at the n-th change to the disk, or count the changes, or log the scenes built."""
    sys.stdout = sys.stderr = open(os.devnull, "w")
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or out.name not in str(arguments[0]):
            return
        if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax")):
            return
        step()

    def step() -> None:
        nonlocal changes
        changes += 1
        if changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_table(writer: pq.ParquetWriter, table: pa.Table) -> None:
        step()
        write(writer, table)

    write = pq.ParquetWriter.write_table  # opens its file in C++, where no audit hook sees it
    pq.ParquetWriter.write_table = write_table
    sys.addaudithook(watch)
    if log is not None:
        built = []

        def logged(task: Any) -> Any:
            built.append(task.scene.scene_id)
            return build_scene(task)

        vars(data.dataset.pieces)["build_scene"] = logged
    build(source=release, out=out, size=32, workers=1, overwrite=overwrite)
    if count is not None:
        count.write_text(str(changes))
    if log is not None:
        log.write_text("\n".join(built))


if __name__ == "__main__":
    main()
