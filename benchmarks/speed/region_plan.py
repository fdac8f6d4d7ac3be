"""Seconds and memory of planning: every tile of a plan of any size is drawn, one shard after the other.

python -m benchmarks.speed.region_plan --plan out/simulated-regions/simulated.yaml --pairs 1000000 --cells 5000000
"""

import argparse
import resource
import time
from pathlib import Path

from generate.region.draw import draw
from generate.region.plan import read_plan


def main() -> None:
    """Print both, of shard 999 alone and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=5_000_000, help="places of every region")
    options = parser.parse_args()
    plan = read_plan(options.plan).model_copy(update={"pairs": options.pairs, "shard": 100})
    cells = [options.cells] * len(plan.regions)
    for what, shards in (("shard 999", [999]), (f"all {plan.shards:,} shards", range(plan.shards))):
        start, tiles = time.process_time(), 0
        for number in shards:
            for tile in plan.of_shard(number):
                draw(plan, cells, tile)
                tiles += 1
        spent, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what}: {tiles:,} tiles drawn in {spent:.2f} s of CPU, {peak:,.0f} MB at most")


if __name__ == "__main__":
    main()
