"""Seconds and memory of planning, resuming and summing up a set of any size; no image is made.

python -m benchmarks.speed.region_plan --plan out/simulated-regions/simulated.yaml --pairs 1000000 --cells 5000000

The tiles of up to 1,000 shards are drawn, one after the other; then records of as many kept pairs are written, and the
set is resumed (which shards are done?) and summed up, as for its datasheet.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from data.examples.invented_damage import CLASSES
from data.strict_json import as_json
from generate.region.draw import draw
from generate.region.plan import Plan, read_plan
from generate.region.records import RECORDS, all_records, complete, shard_path
from generate.region.summary import near_duplicates, summarise

MOST_DRAWN = 1000  # shards


def main() -> None:
    """Print seconds and the peak memory until then, of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=5_000_000, help="places of every region")
    options = parser.parse_args()
    plan = read_plan(options.plan).model_copy(update={"pairs": options.pairs, "shard": 100})
    cells = [options.cells] * len(plan.regions)
    first = range(min(plan.shards, MOST_DRAWN))
    for what, shards in (("shard 999", [999]), (f"shards 0 to {first[-1]:,}", first)):
        start, tiles = time.process_time(), 0
        for number in shards:
            for tile in plan.of_shard(number):
                draw(plan, cells, tile)
                tiles += 1
        report(f"{what}: {tiles:,} tiles drawn", start)
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), plan)
        start = time.process_time()
        done = len(complete(Path(folder)))
        report(f"resumed: {done:,} shards are done", start)
        start = time.process_time()
        found = summarise(all_records(Path(folder), plan.shards), plan.pairs)
        report(f"summed up: {found.kept:,} pairs", start)
        start = time.process_time()
        report(f"near-duplicates: {near_duplicates(found.hashes):,}", start)


def report(what: str, start: float) -> None:
    """Seconds since then, and the peak memory of the process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what} in {time.process_time() - start:.2f} s of CPU, {peak:,.0f} MB at most", flush=True)


def write_records(folder: Path, plan: Plan) -> None:
    """Complete records of a set whose every tile is kept, with random hashes."""
    rng, region = np.random.default_rng(0), plan.regions[0].name
    (folder / RECORDS).mkdir()
    record = {"outcome": "kept", "region": region, "disaster": "flooding", "severity": 1, "tried": 1, "attempts": 1}
    record |= {"passed_over": {}, "rejected": [], "counts": dict.fromkeys(CLASSES, 2), "source": "a.tif"}
    record |= {"lon": 7.25, "lat": 51.5, "seen": 0.8, "outside": 3.5}
    record |= {"files": {f"train/images/{part}": "0" * 64 for part in range(7)}}
    for shard in range(plan.shards):
        lines = [
            as_json(
                record | {"tile": tile, "scene_id": f"a_{tile:08d}", "phash": f"{rng.integers(1 << 63):016x}"}, None
            )
            for tile in plan.of_shard(shard)
        ]
        shard_path(folder, shard).write_text("".join(lines))


if __name__ == "__main__":
    main()
