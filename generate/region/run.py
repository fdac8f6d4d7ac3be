"""A set of pairs from a plan, in shards that any number of commands share."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.disk import look
from data.imagery.geo import check_proj
from generate.checkpoint import open_base, open_checkpoint, solved
from generate.errors import GenerateError
from generate.generator import load_generator
from generate.processes import join_processes
from generate.progress import progress
from generate.region.card import finish
from generate.region.draw import per_region
from generate.region.ground import described, survey
from generate.region.make import MOST_REMAKES, Judge, Made, Maker, Ready
from generate.region.plan import Plan, read_plan
from generate.region.records import RECORDS, Record, Shard, begin, complete
from generate.region.release import FOLDERS, GEOTIFF
from generate.sampling import Sampling
from generate.scale import window_at
from generate.scenes.scene import windowing
from generate.synthesize import check_checkpoint

STYLES = ("diffusionsat", "short", "placed", "long", "chunks")  # of captions that labels make


@dataclass(frozen=True)
class Judging:
    """A judge, and what identifies it and its thresholds."""

    judge: Judge
    facts: dict[str, Any]


def make_set(
    plan_file: Path,
    checkpoint: Path,
    out: Path,
    *,
    shard: int | None,
    base: str | None,
    judging: Callable[[Plan], Judging] | None,
    remakes: int,
    geotiff: bool,
    sampling: Sampling,
) -> None:
    """Make all shards of a plan that nobody else is making, or one of them; see `launch.region.region`."""
    join_processes()
    check_proj()
    plan = read_plan(plan_file)
    if shard is not None and not 0 <= shard < plan.shards:
        raise GenerateError(f"shard is {shard}; the plan has {plan.shards:,} shards, 0 to {plan.shards - 1:,}.")
    if not 0 <= remakes <= MOST_REMAKES:
        raise GenerateError(f"remakes is {remakes}; expected 0 to {MOST_REMAKES}.")
    if sampling.samples != 1:
        raise GenerateError(f"samples is {sampling.samples}; a region run makes one image per tile.")
    trained = open_checkpoint(checkpoint)
    check_checkpoint(trained, STYLES)
    sampling = solved(sampling, trained)
    side = sampling.size or trained.resolution
    windows = windowing(side, window_at(trained, side), 0.5)
    grounds = survey(plan, plan_file.absolute().parent)
    _report_places(plan, [ground.cells for ground in grounds])
    judged = judging(plan) if judging else None
    facts = trained.described() | sampling.described(trained.resolution) | {"window": side * windows.factor}
    look(out)
    made_of = {
        "format": "pre2post-region",
        "format_version": 1,
        "plan": plan.model_dump(mode="json"),
        "regions": described(grounds),
        "image": facts | {"seed": sampling.seed},
        "caption_style": trained.caption_style,
        "checkpoint_trained_on": trained.trained_on,
        "judge": judged.facts if judged else None,
        "remakes": remakes if judged else 0,
        "geotiff": geotiff,
    }
    begin(out, made_of)
    for folder in (*FOLDERS, RECORDS, *([GEOTIFF] if geotiff else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)
    done = complete(out)
    todo = [number for number in ([shard] if shard is not None else range(plan.shards)) if number not in done]
    if todo:
        style = trained.caption_style
        generator = load_generator(trained, open_base(trained, base), sampling)
        judge, again = (judged.judge, remakes) if judged else (None, 0)
        maker = Maker(plan, grounds, generator, windows, sampling, style, facts, judge, again, geotiff)
        _make_shards(out, maker, todo)
    left = plan.shards - len(complete(out))
    if left:
        print(f"{left:,} of {plan.shards:,} shards are not done yet, or others make them. The same command resumes.")
    else:
        finish(out, plan, made_of)
        print(f"Set in {out}: {out / 'README.md'}, {out / 'report.html'}")
        print(f"Next: pre2post build --source {out} --out DATASET")


def _make_shards(out: Path, maker: Maker, todo: list[int]) -> None:
    plan, started, tiles, kept = maker.plan, time.monotonic(), 0, 0
    with progress(sum(len(plan.of_shard(number)) for number in todo), "region", "tile") as bar:
        for number in todo:
            shard = Shard(out, number, plan.of_shard(number))
            if not shard.claim():
                bar.update(len(shard.tiles))
                continue
            with ExitStack() as held:
                held.callback(shard.release)
                bar.update(len(shard.tiles) - len(shard.missing()))
                for record in make_tiles(out, maker, shard):
                    tiles, kept = tiles + 1, kept + (record["outcome"] == "kept")
                    bar.update()
    if tiles:
        spent = time.monotonic() - started
        rate = f", {spent / kept * 1000 / 3600:.2f} hours per 1,000 pairs on this device" if kept else ""
        print(f"{kept:,} of {tiles:,} tiles kept in {spent:,.0f} s{rate}")


def make_tiles(out: Path, maker: Maker, shard: Shard) -> Iterator[Record]:
    """Make the missing tiles of a shard: while one is generated, the next is prepared and the last one written.

    Lines of the record follow in the order of the tiles, each once its files are on the disk, as without threads.
    """

    def written(ready: Ready, made: Made | None) -> Record:
        record = maker.write(out, ready, made)
        shard.add(record)
        return record

    tiles = list(shard.missing())
    # On the way out both finish what they have begun, a tile each, before anybody else may claim the shard.
    with ThreadPoolExecutor(1, "prepare") as preparer, ThreadPoolExecutor(1, "write") as writer:
        following = preparer.submit(maker.prepare, tiles[0])
        last: Future[Record] | None = None
        for after in [*tiles[1:], None]:
            ready = following.result()
            if after is not None:
                following = preparer.submit(maker.prepare, after)
            made = maker.generate(ready)
            if last:
                yield last.result()
            last = writer.submit(written, ready, made)
        assert last is not None
        yield last.result()


def _report_places(plan: Plan, cells: list[int]) -> None:
    for region, tiles, number in zip(plan.regions, per_region(plan), cells, strict=True):
        if tiles > number:
            print(f"note: region {region.name} has {number:,} places for {tiles:,} tiles: some ground comes again.")
