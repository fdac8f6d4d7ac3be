"""Make the pairs of a set: find the ground of a tile, generate its image, judge it, write its files."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.imagery.encode import encode_png
from data.quality.duplicates import perceptual_hash
from data.schema import DAMAGE_VALUES
from data.storage import reraise_disk_errors, whole
from generate.errors import GenerateError
from generate.generator import Generator
from generate.images.read import read_header, read_pixels
from generate.inputs import Pixels
from generate.processes import ALONE
from generate.region.draw import draw
from generate.region.ground import Ground
from generate.region.plan import Plan, Region
from generate.region.records import Record
from generate.region.release import files_of, targets_of, write_geotiffs
from generate.region.tile import Tile, caption_of, find_tile
from generate.sampling import Sampling
from generate.scenes.scene import Windowing, generate_scene

MOST_REMAKES = 99  # so that no two images share their initial noise


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a pair."""

    seen: float  # 0..1, how well the damage that was asked for is seen where it was asked for
    outside: float  # 0..255, how much changed where no building is
    fault: str  # why the pair is not kept; "" if it is


# Pre and post image (side, side, 3) uint8; (side, side) damage asked for, 0 to 4, and 1 + the index of each building.
Judge = Callable[[Pixels, Pixels, NDArray[np.uint8], NDArray[np.int32]], Verdict]


@dataclass(frozen=True)
class Ready:
    """A tile whose image can be generated; its record as far as it is known."""

    record: Record
    tile: Tile | None  # None: there is no place for it, and the rest is empty
    region: Region
    prompt: str = ""
    png: Mapping[str, bytes] = field(default_factory=dict)  # pre, mask, pre_target, post_target


@dataclass(frozen=True)
class Made:
    """The post image of a tile."""

    png: bytes  # with its tags
    pixels: Pixels  # (side, side, 3)
    about: Mapping[str, Any]  # what made it


@dataclass(frozen=True)
class Maker:
    """Everything a tile depends on. Its three steps may run at a time for three tiles."""

    plan: Plan
    grounds: Sequence[Ground]
    generator: Generator
    windows: Windowing
    sampling: Sampling
    caption_style: str
    facts: Mapping[str, Any]  # of every image: checkpoint, sampling
    judge: Judge | None
    remakes: int
    geotiff: bool

    def prepare(self, number: int) -> Ready:
        """Find the ground of a tile and all that is said about it: what no network is needed for.

        Raises:
            GenerateError: an image or the footprints cannot be read.
        """
        drawn = draw(self.plan, [ground.cells for ground in self.grounds], number)
        ground = self.grounds[drawn.region]
        region = ground.region
        try:
            tile, passed_over = find_tile(self.plan, ground, drawn)
        except (DataError, GenerateError) as error:
            raise GenerateError(f"tile {number}, region {region.name}: {error}") from error
        record = Record(
            tile=number,
            outcome="no place",
            region=region.name,
            disaster=drawn.disaster,
            severity=drawn.severity,
            tried=tile.tried if tile else len(drawn.cells),
            passed_over=passed_over,
            attempts=0,
            rejected=[],
        )
        if tile is None:
            return Ready(record, None, region)
        prompt = caption_of(tile, self.caption_style, region.taken)
        assert prompt is not None, "the style was checked"
        targets = targets_of(tile)
        png = {"pre": encode_png(tile.pre), "mask": encode_png(tile.mask())}
        png |= {f"{phase}_target": encode_png(targets[phase]) for phase in targets}
        return Ready(record, tile, region, prompt, png)

    def generate(self, ready: Ready) -> Made | None:
        """Generate the post image of a tile, again while the judge rejects it; None if nothing is to be kept."""
        record, tile = ready.record, ready.tile
        for attempt in range(1 + self.remakes) if tile else ():
            assert tile is not None
            record["attempts"] = attempt + 1
            made = self._about(ready, attempt)
            post_png, post = self._post(ready, made)
            verdict = self.judge(tile.pre, post, tile.mask(), tile.ids()) if self.judge else None
            if verdict and verdict.fault:
                record["rejected"].append(verdict.fault)
                continue
            if verdict:
                record["seen"], record["outside"] = round(verdict.seen, 6), round(verdict.outside, 6)
            return Made(post_png, post, made)
        record["outcome"] = "dropped" if tile else "no place"
        return None

    def write(self, out: Path, ready: Ready, made: Made | None) -> Record:
        """Write the files of a tile into the release; what became of it.

        Raises:
            DataError: the disk is full.
        """
        record, tile = ready.record, ready.tile
        if tile is None or made is None:
            return record
        digests = {}
        for name, content in files_of(tile, ready.region, ready.png, made.png, made.about).items():
            with reraise_disk_errors(out / name), whole(out / name) as path:
                path.write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
        for name in write_geotiffs(out, tile, made.pixels, made.about) if self.geotiff else ():
            digests[name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
        subtypes = [building.subtype for building in tile.buildings]
        record |= {"outcome": "kept", "scene_id": tile.scene_id, "source": tile.cell.source.name}
        record |= {"counts": {name: subtypes.count(name) for name in DAMAGE_VALUES if name != "un-classified"}}
        record |= {"lon": round(tile.location.lon, 6), "lat": round(tile.location.lat, 6)}
        record |= {"phash": perceptual_hash(made.pixels), "files": digests}
        return record

    def _about(self, ready: Ready, attempt: int) -> dict[str, Any]:
        tile, region = ready.tile, ready.region
        assert tile is not None
        source = tile.cell.source
        return {
            "set": self.plan.name,
            "tile": tile.draw.number,
            "scene_id": tile.scene_id,
            "prompt": ready.prompt,
            "seed": self.sampling.seed + (1 + MOST_REMAKES) * tile.draw.number + attempt,
            "sample": attempt,
            "region": region.name,
            "source_image": source.name,
            "source_identity": source.identity,
            "source_window": [tile.cell.row, tile.cell.col, tile.cell.side],
            **source.changes(),
            "imagery_licence": region.imagery_licence,
            "footprints_licence": region.footprints_licence,
            "attribution": region.attribution,
            **self.facts,
        }

    def _post(self, ready: Ready, made: dict[str, Any]) -> tuple[bytes, Pixels]:
        """The post image as a PNG with its tags, and its pixels."""
        with tempfile.TemporaryDirectory(prefix="pre2post-tile-") as name:
            folder = Path(name)
            for kind in ("pre", "mask"):
                (folder / f"{kind}.png").write_bytes(ready.png[kind])
            header = replace(read_header(folder / "pre.png"), mask=folder / "mask.png")
            generate_scene(
                self.generator,
                header,
                self.windows,
                ready.prompt,
                (),
                made["seed"],
                self.sampling,
                folder / "post.png",
                made,
                watermark=False,
                on_window=lambda done: None,
                team=ALONE,
            )
            return (folder / "post.png").read_bytes(), read_pixels(folder / "post.png")
