"""Seconds per pair of `pre2post region`, beside a bare loop that generates the same images and writes nothing.

python -m benchmarks.speed.region_rate --plan out/simulated-regions/simulated.yaml --checkpoint RUN --tiles 20
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from generate.checkpoint import open_base, open_checkpoint
from generate.generator import generate_images, load_generator
from generate.processes import join_processes
from generate.region.draw import draw
from generate.region.ground import survey
from generate.region.make import Maker
from generate.region.plan import read_plan
from generate.region.records import RECORDS, Shard
from generate.region.release import FOLDERS
from generate.region.run import make_tiles
from generate.region.tile import caption_of, find_tile
from generate.sampling import Sampling
from generate.scale import window_at
from generate.scenes.scene import windowing

TURN = 4  # tiles


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    join_processes()
    plan, trained = read_plan(options.plan), open_checkpoint(options.checkpoint)
    sampling = Sampling(scheduler="dpm++", steps=options.steps)
    generator, grounds = load_generator(trained, open_base(trained), sampling), survey(plan, options.plan.parent)
    windows = windowing(trained.resolution, window_at(trained, trained.resolution), 0.5)
    assert windows.side * windows.factor == plan.tile_px, "the bare loop makes one window per tile"
    facts = trained.described() | sampling.described(trained.resolution)
    maker = Maker(plan, grounds, generator, windows, sampling, trained.caption_style, facts, None, 0, False)
    drawn = [draw(plan, [ground.cells for ground in grounds], number) for number in range(options.tiles)]
    tiles = [(tile, one.region) for one in drawn if (tile := find_tile(plan, grounds[one.region], one)[0])]
    condition = generator.condition
    assert condition is not None and condition.with_mask
    inputs = []
    for tile, region in tiles:
        step = windows.factor
        small = tile.pre.reshape(windows.side, step, windows.side, step, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        shown = condition.with_mask(small, tile.mask()[step // 2 :: step, step // 2 :: step])
        inputs.append((shown, str(caption_of(tile, trained.caption_style, plan.regions[region].taken))))
    numbers = [tile.draw.number for tile, _ in tiles]
    spent = np.zeros((2, 2))  # bare, region; CPU, wall
    with tempfile.TemporaryDirectory() as name:
        for folder in (*FOLDERS, RECORDS):
            (Path(name) / folder).mkdir(parents=True)
        # By turns of a few tiles, so that a busy machine slows both alike; the first of each warms up.
        for turn, first in enumerate(range(0, len(numbers), TURN)):
            several = slice(first, first + TURN)
            times = [clocks()]
            for number, (shown, prompt) in zip(numbers[several], inputs[several], strict=True):
                generate_images(generator, [shown], [prompt], [number], sampling)
            times.append(clocks())
            for _ in make_tiles(Path(name), maker, Shard(Path(name), turn, numbers[several])):
                pass
            times.append(clocks())
            if turn:
                spent += np.diff(times, axis=0)
    count = len(numbers) - TURN
    for clock, (bare, made) in zip(("CPU", "wall"), spent.T / count, strict=True):
        print(f"{count} pairs, {clock}: bare {bare:.2f} s, region {made:.2f} s each: {bare / made:.2f} of its rate")


def clocks() -> tuple[float, float]:
    """Seconds of the CPU, of all threads, and of the wall."""
    return time.process_time(), time.perf_counter()


if __name__ == "__main__":
    main()
