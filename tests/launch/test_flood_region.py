"""The page docs/labels.md, word for word: a flood in GeoTIFFs and GeoPackages, to the score of a damage model."""

import json
import re
from dataclasses import replace
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
from tests.in_bash import run_script
from tests.test_house import ROOT

SIDE = 512  # px
FLOODS = [index for index, event in enumerate(EVENTS) if event.disaster_type == "flooding"]
LESS = {  # of the same options
    "build": ["--workers", "1"],
    "train": [
        "--train.steps",
        "4",
        "--train.warmup_steps",
        "0",
        "--train.decay_steps",
        "0",
        "--run.workers",
        "0",
        "--run.cache",
        "cache",
    ],
    "synthesize": ["--limit", "4", "--steps", "2"],
    "damage-model": ["--steps", "4", "--batch", "4", "--width", "8"],
}


def write_region(folder: Path, name: str, scenes: list[Scene], splits: list[str], field: str) -> None:
    """A manifest of GeoTIFF pairs, side by side in one CRS, and a GeoPackage of their buildings.

    Of the first place in `labels` the damage is given as a mask.
    """

    outlines, words, lines = [], [], []
    for number, (scene, split) in enumerate(zip(scenes, splits, strict=True)):
        affine = Affine(0.5, 0, 600_000 + SIDE * number, 0, -0.5, 5_600_000)
        for phase, pixels in scene.images.items():
            write_tif(folder / phase / f"{name}{number}.tif", pixels.transpose(2, 0, 1), affine, "EPSG:32632")
        for corners, subtype in zip(scene.polygons, scene.subtypes, strict=True):
            outlines.append(shapely.Polygon(corners * (affine.a, affine.e) + (affine.c, affine.f)))
            words.append(subtype)
        pair = {phase: f"{phase}/{name}{number}.tif" for phase in ("pre", "post")}
        about = {"event": "ahr-flood", "disaster_type": "flooding", "split": split}
        lines.append(pair | about | {field: f"{name}.gpkg"})
        if field == "labels" and number == 0:
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


def upper_left(scene: Scene) -> Scene:
    """A quarter of it, with the buildings that lie inside."""
    kept = [number for number, corners in enumerate(scene.polygons) if corners.max() < SIDE]
    images = {phase: pixels[:SIDE, :SIDE] for phase, pixels in scene.images.items()}
    polygons, subtypes = [scene.polygons[number] for number in kept], [scene.subtypes[number] for number in kept]
    return replace(scene, images=images, polygons=polygons, subtypes=subtypes)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # commands warn like those of users
def test_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, *others = FLOODS  # nobody lives in the first one, which lies between the others
    scenes = [upper_left(render_scene(5, index)) for index in (others[0], empty, others[1], empty + len(EVENTS))]
    folder = tmp_path / "here"
    folder.mkdir()
    write_region(folder, "assessed", scenes[:3], ["train", "train", "test"], "labels")
    write_region(folder, "region", scenes[3:], ["train"], "footprints")
    (folder / "configs").symlink_to(ROOT / "configs")
    page = (ROOT / "docs/labels.md").read_text()
    block = re.search(r"<!-- commands -->\n```\n(.*?)```", page, re.DOTALL)
    assert block
    run_script(block[1], folder, monkeypatch, LESS)
    said = capsys.readouterr().out
    assert re.search(r"on split test: score 0\.\d{3}, localisation_f1", said), said
    card = json.loads((folder / "model/model.json").read_text())
    assert card["sources"]["real"] == 2 * 4  # 512 px in 256 px patches
    assert 1 <= card["sources"]["synthetic"] <= 4  # one of a place without buildings is left out
    assert card["scores"]["score"]["patches"] == 4
