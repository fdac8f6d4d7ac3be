"""`pre2post build` beside a bare loop over the same images.

    python -m benchmarks.speed.build_speed --release xbd --work OUT --scenes 31

The bare loop decodes every image once, cuts the same windows and encodes them with the same codec, in as many
processes: no labels, no checks, no captions, no shards. The pairs of the release stand in for as many scenes as
requested, each under its own name (links, so that no disk space is needed).
"""

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from benchmarks.results import RESULTS, write_section
from benchmarks.watch import processor_seconds
from data.build import build
from data.imagery.encode import encode_png
from data.patches.tiles import grid
from data.sources.release import SceneFiles, find_release
from data.workers import WorkerPool


def build_speed(
    *, release: Path, work: Path, scenes: str = "50", size: int = 512, workers: int = 2, turns: int = 2,
    results: Path = RESULTS,
) -> None:  # fmt: skip
    """Compare in turns and write a section.

    On a shared machine the rate by processor time is more reliable than by wall time.

    Args:
        release: an xView2 release.
        work: folder for the builds; each is removed again.
        scenes: numbers of scenes, such as 50,100,200,400.
        size: of the patches.
        workers: processes, for both.
        turns: of both.
        results: the file to write to.
    """
    lines = [
        "| scenes | bare loop, processor s/scene | build, processor s/scene | rate by processor, median (each turn) "
        "| rate by wall |",
        "|---:|---:|---:|---|---|",
    ]
    for number in (int(part) for part in scenes.split(",")):
        source = multiplied(find_release(release).scenes, work / f"release-{number}", number)
        command = [str(source), str(work / "built"), str(size), str(workers)]
        found: dict[str, list[dict[str, float]]] = {"bare": [], "build": []}
        for turn in range(turns):
            for job in list(found)[:: 1 if turn % 2 == 0 else -1]:
                found[job].append(_measured(job, command))
                print(job, found[job][-1], flush=True)
            shutil.rmtree(work / "built")
        lines.append(_line(number, found))
    title = f"Build: scenes of {release.name}, patches of {size} px, processes: {workers}"
    write_section(title, "\n".join(lines), results)


def _line(number: int, found: dict[str, list[dict[str, float]]]) -> str:
    rates = {
        clock: [bare[clock] / built[clock] for bare, built in zip(found["bare"], found["build"], strict=True)]
        for clock in ("cpu_seconds", "seconds")
    }
    spent = [median(turn["cpu_seconds"] for turn in turns) / number for turns in found.values()]
    shown = [f"{median(each):.2f} ({', '.join(f'{rate:.2f}' for rate in each)})" for each in rates.values()]
    cells = [f"{number}", *(f"{seconds:.2f}" for seconds in spent), *shown]
    return f"| {' | '.join(cells)} |"


def multiplied(scenes: Sequence[SceneFiles], folder: Path, number: int) -> Path:
    """As many scenes, as links to the existing ones."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "labels"):
        (folder / "train" / name).mkdir(parents=True)
    for i in range(number):
        scene = scenes[i % len(scenes)]
        for path in scene.files():
            if path.parent.name in ("images", "labels"):
                scene_id = f"{scene.event}_{i:08d}"
                target = folder / "train" / path.parent.name / path.name.replace(scene.scene_id, scene_id)
                if path.parent.name == "images":
                    target.symlink_to(path.resolve())
                else:  # it names its image
                    target.write_text(path.read_text().replace(scene.scene_id, scene_id))
    return folder


def _measured(job: str, command: list[str]) -> dict[str, float]:
    """Run either job in a separate process, so that neither inherits what the other has loaded."""
    run = [sys.executable, "-m", "benchmarks.speed.build_speed", job, *command]
    output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _job(job: str, source: str, out: str, size: str, workers: str) -> None:
    """Do the job and print its cost from the first task on, i.e. with worker startup, without imports."""
    start, cpu = time.perf_counter(), processor_seconds()
    if job == "build":
        build(source=Path(source), out=Path(out), size=int(size), workers=int(workers), strict=True)
    else:
        with WorkerPool(int(workers)) as pool:
            for _ in pool.map(_recode, [(scene, int(size)) for scene in find_release(Path(source)).scenes]):
                pass
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor_seconds() - cpu}))


def _recode(task: tuple[SceneFiles, int]) -> int:
    scene, size = task
    total = 0
    for path in (scene.pre_image, scene.post_image):
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
        for window in grid(pixels.shape[0], pixels.shape[1], size):
            total += len(encode_png(pixels[window.row : window.row + size, window.col : window.col + size]))
    return total


if __name__ == "__main__":
    if sys.argv[1:2] in (["bare"], ["build"]):
        _job(*sys.argv[1:])
    else:
        auto_cli(build_speed, as_positional=False)
