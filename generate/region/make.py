"""Make the pairs of a set: tile after tile, each judged before it is kept."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from generate.region.plan import Plan
from generate.region.records import Record
from generate.region.release import files_of, write_geotiffs
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
class Maker:
    """Everything a tile depends on."""

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

    def make(self, out: Path, number: int) -> Record:
        """Make a tile and write its files into the release; what became of it.

        Raises:
            DataError, GenerateError: an image or the footprints cannot be read, the disk is full.
        """
        drawn = draw(self.plan, [ground.cells for ground in self.grounds], number)
        ground = self.grounds[drawn.region]
        try:
            tile, passed_over = find_tile(self.plan, ground, drawn)
        except DataError as error:
            raise GenerateError(f"tile {number}, region {ground.region.name}: {error}") from error
        record = Record(
            tile=number,
            outcome="no place",
            region=ground.region.name,
            disaster=drawn.disaster,
            severity=drawn.severity,
            tried=tile.tried if tile else len(drawn.cells),
            passed_over=passed_over,
            attempts=0,
            rejected=[],
        )
        if tile is None:
            return record
        prompt = caption_of(tile, self.caption_style, ground.region.taken)
        assert prompt is not None, "the style was checked"
        mask = tile.mask()
        for attempt in range(1 + self.remakes):
            record["attempts"] = attempt + 1
            made = self._made(tile, ground, prompt, attempt)
            post_png, post = self._post(tile.pre, mask, prompt, made)
            verdict = self.judge(tile.pre, post, mask, tile.ids()) if self.judge else None
            if verdict and verdict.fault:
                record["rejected"].append(verdict.fault)
                continue
            if verdict:
                record["seen"], record["outside"] = round(verdict.seen, 6), round(verdict.outside, 6)
            return self._keep(out, record, tile, ground, made, post_png, post)
        record["outcome"] = "dropped"
        return record

    def _made(self, tile: Tile, ground: Ground, prompt: str, attempt: int) -> dict[str, Any]:
        source = tile.cell.source
        seed = self.sampling.seed + (1 + MOST_REMAKES) * tile.draw.number + attempt
        return {
            "set": self.plan.name,
            "tile": tile.draw.number,
            "scene_id": tile.scene_id,
            "prompt": prompt,
            "seed": seed,
            "sample": attempt,
            "region": ground.region.name,
            "source_image": source.name,
            "source_identity": source.identity,
            "source_window": [tile.cell.row, tile.cell.col, tile.cell.side],
            **source.changes(),
            "imagery_licence": ground.region.imagery_licence,
            "footprints_licence": ground.region.footprints_licence,
            "attribution": ground.region.attribution,
            **self.facts,
        }

    def _post(self, pre: Pixels, mask: NDArray[np.uint8], prompt: str, made: dict[str, Any]) -> tuple[bytes, Pixels]:
        """The post image as a PNG with its tags, and its pixels."""
        with tempfile.TemporaryDirectory(prefix="pre2post-tile-") as name:
            folder = Path(name)
            (folder / "pre.png").write_bytes(encode_png(pre))
            (folder / "mask.png").write_bytes(encode_png(mask))
            header = replace(read_header(folder / "pre.png"), mask=folder / "mask.png")
            generate_scene(
                self.generator,
                header,
                self.windows,
                prompt,
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

    def _keep(
        self,
        out: Path,
        record: Record,
        tile: Tile,
        ground: Ground,
        made: Mapping[str, Any],
        post_png: bytes,
        post: Pixels,
    ) -> Record:
        digests = {}
        for name, content in files_of(tile, ground.region, post_png, made).items():
            with reraise_disk_errors(out / name), whole(out / name) as path:
                path.write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
        for name in write_geotiffs(out, tile, post, made) if self.geotiff else ():
            digests[name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
        subtypes = [building.subtype for building in tile.buildings]
        record |= {"outcome": "kept", "scene_id": tile.scene_id, "source": tile.cell.source.name}
        record |= {"counts": {name: subtypes.count(name) for name in DAMAGE_VALUES if name != "un-classified"}}
        record |= {"lon": round(tile.location.lon, 6), "lat": round(tile.location.lat, 6)}
        record |= {"phash": perceptual_hash(post), "files": digests}
        return record
