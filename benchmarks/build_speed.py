"""How fast a build is, beside a bare loop over the same images, and how it grows: docs/dataset.md.

On a laptop:  python -m benchmarks.build_speed --release xbd --work /tmp/speed --scenes 50,100,200,400

The bare loop decodes every image once, cuts the same windows and encodes them with the same codec, in as many
processes: no labels, no checks, no captions, no shards. The pairs of the release stand in for as many scenes as are
asked for, each under a name of its own (links, so that no disk is needed).
"""

import io
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from data.build import build
from data.images import encode_png
from data.parallel import WorkerPool
from data.release import SceneFiles, find_release
from data.tiles import grid


def build_speed(*, release: Path, work: Path, scenes: str = "50", size: int = 512, workers: int = 2) -> None:
    """Print seconds and peak memory of the bare loop and of the build, in turn.

    Args:
        release: an xView2 release.
        work: folder for what is built; each build is removed again.
        scenes: numbers of scenes, such as 50,100,200,400.
        size: of the patches.
        workers: processes, of both.
    """
    for number in (int(part) for part in scenes.split(",")):
        source = _multiplied(find_release(release).scenes, work / f"release-{number}", number)
        bare = _bare(find_release(source).scenes, size, workers)
        found = _built(source, work / "built", size, workers)
        found |= {"bare_seconds": bare, "rate_beside_bare": round(bare / found["seconds"], 2)}
        print(
            json.dumps({"scenes": number, "seconds_per_scene": round(found["seconds"] / number, 3)} | found), flush=True
        )


def _multiplied(scenes: Sequence[SceneFiles], folder: Path, number: int) -> Path:
    """As many scenes, by links to those there are."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "labels"):
        (folder / "train" / name).mkdir(parents=True)
    for i in range(number):
        scene = scenes[i % len(scenes)]
        for path in scene.files():
            if path.parent.name in ("images", "labels"):
                name = path.name.replace(scene.scene_id, f"{scene.event}_{i:08d}")
                (folder / "train" / path.parent.name / name).symlink_to(path.resolve())
    return folder


def _bare(scenes: Sequence[SceneFiles], size: int, workers: int) -> float:
    with WorkerPool(workers) as pool:
        start = time.perf_counter()  # with the start of the processes, as in the build
        for _ in pool.map(_recode, [(scene, size) for scene in scenes]):
            pass
        return round(time.perf_counter() - start, 1)


def _recode(task: tuple[SceneFiles, int]) -> int:
    scene, size = task
    total = 0
    for path in (scene.pre_image, scene.post_image):
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
        for window in grid(pixels.shape[0], pixels.shape[1], size):
            total += len(encode_png(pixels[window.row : window.row + size, window.col : window.col + size]))
    return total


def _built(source: Path, out: Path, size: int, workers: int) -> dict[str, float]:
    """Build in a process of its own, so that its memory can be told."""
    command = [sys.executable, "-m", "benchmarks.build_speed", "one", str(source), str(out), str(size), str(workers)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    shutil.rmtree(out)
    return found


def _build_one(source: str, out: str, size: str, workers: str) -> None:
    start = time.perf_counter()
    build(source=Path(source), out=Path(out), size=int(size), workers=int(workers))
    seconds = time.perf_counter() - start
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Linux counts in KiB, and of the children the largest.
    peak_gb = (own + int(workers) * child) * 1024 / 1e9
    print(json.dumps({"seconds": round(seconds, 1), "peak_memory_gb": round(peak_gb, 2)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        _build_one(*sys.argv[2:])
    else:
        auto_cli(build_speed, as_positional=False)
