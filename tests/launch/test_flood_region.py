"""The page docs/labels.md, word for word: a flood in GeoTIFFs and GeoPackages, to the score of a damage model."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from data.schema import DAMAGE_VALUES
from data.simulation.events import EVENTS
from data.simulation.release import Scene
from data.simulation.simulate import render_scene
from tests.data.rasters import write_tif

REPOSITORY = Path(__file__).parents[2]
FLOODS = [index for index, event in enumerate(EVENTS) if event.disaster_type == "flooding"]
LESS = {  # of the same options
    "train": ["--train.steps", "4", "--train.warmup_steps", "0", "--train.decay_steps", "0", "--run.workers", "0"],
    "synthesize": ["--limit", "4", "--steps", "2"],
    "damage-model": ["--steps", "4", "--batch", "4", "--width", "8"],
}


def write_region(folder: Path, name: str, scenes: list[Scene], splits: list[str], field: str) -> None:
    """A manifest of GeoTIFF pairs, side by side in one CRS, and a GeoPackage of their buildings.

    Of the second place in `labels` the damage is given as a mask.
    """

    outlines, words, lines = [], [], []
    for number, (scene, split) in enumerate(zip(scenes, splits, strict=True)):
        affine = Affine(0.5, 0, 600_000 + 512 * number, 0, -0.5, 5_600_000)
        for phase, pixels in scene.images.items():
            write_tif(folder / phase / f"{name}{number}.tif", pixels.transpose(2, 0, 1), affine, "EPSG:32632")
        for corners, subtype in zip(scene.polygons, scene.subtypes, strict=True):
            outlines.append(shapely.Polygon(corners * (affine.a, affine.e) + (affine.c, affine.f)))
            words.append(subtype)
        pair = {phase: f"{phase}/{name}{number}.tif" for phase in ("pre", "post")}
        about = {"event": "ahr-flood", "disaster_type": "flooding", "split": split}
        lines.append(pair | about | {field: f"{name}.gpkg"})
        if field == "labels" and number == 1:
            buildings = zip(scene.polygons, scene.subtypes, strict=True)
            shapes = [(shapely.Polygon(corners), DAMAGE_VALUES[subtype]) for corners, subtype in buildings]
            mask = rasterize(shapes, out_shape=pixels.shape[:2], dtype="uint8")
            lines[-1] = pair | about | {"mask": write_tif(folder / "mask.tif", mask[None], affine, "EPSG:32632").name}
    wkb, cells = np.array([shapely.to_wkb(outline) for outline in outlines], object), [np.array(words, object)]
    about_file = {"driver": "GPKG", "crs": "EPSG:32632", "geometry_type": "Polygon"}
    pyogrio.raw.write(
        folder / f"{name}.gpkg", wkb, *((cells, ["damage"]) if field == "labels" else ([], [])), **about_file
    )
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    scenes = [render_scene(5, index) for index in (*FLOODS, FLOODS[0] + len(EVENTS))]
    write_region(tmp_path, "assessed", scenes[:3], ["train", "train", "test"], "labels")
    write_region(tmp_path, "region", scenes[3:], ["train"], "footprints")
    page = (REPOSITORY / "docs/labels.md").read_text()
    block = re.search(r"<!-- commands -->\n```\n(.*?)```", page, re.DOTALL)
    assert block
    said = ""
    for line in block[1].splitlines():
        words = shlex.split(line.replace("configs/", f"{REPOSITORY}/configs/"))
        what = "train" if words[0] == "python" else words[1]
        start = [sys.executable] if words[0] == "python" else [str(Path(sys.executable).parent / "pre2post")]
        more = ["--run.cache", "cache"] if what == "train" else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [*start, *words[1:], *LESS.get(what, []), *more],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
        said = done.stdout
    assert re.search(r"on split test: score 0\.\d{3}, localisation_f1", said), said
    card = json.loads((tmp_path / "model/model.json").read_text())
    assert card["sources"]["real"] == 32
    assert 1 <= card["sources"]["synthetic"] <= 4  # one of a place without buildings is left out
    assert card["scores"]["score"]["patches"] == 16
