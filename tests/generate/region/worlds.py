"""A small region: two images side by side, houses in GeoPackages, and a plan for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
import yaml
from rasterio import Affine

from generate.region.run import make_set
from generate.sampling import Sampling
from tests.data.rasters import write_tif

UTM = "EPSG:32632"
PX = 64  # of a tile
ROWS, COLS = 3, 4  # tiles of each image
TAKEN = "2024-05-01"


def affine_of(image: int) -> Affine:
    """Half a metre per pixel; images lie side by side."""
    return Affine(0.5, 0, 600_000 + image * 0.5 * COLS * PX, 0, -0.5, 5_600_000)


def houses(image: int) -> list[shapely.Polygon]:
    """On a grid, in pixels of the image: 4 in each tile and one across its edge; the last tile has but the latter."""
    rng = np.random.default_rng(image)
    found = []
    for row in range(ROWS):
        for col in range(COLS):
            if (image, row, col) == (1, ROWS - 1, COLS - 1):
                continue
            for x, y in ((6, 6), (40, 8), (8, 42), (38, 40)):
                wide, high = rng.uniform(8, 16, 2)
                found.append(shapely.box(col * PX + x, row * PX + y, col * PX + x + wide, row * PX + y + high))
            found.append(shapely.box(col * PX + 58, row * PX + 20, col * PX + 70, row * PX + 28))
    return found


def write_region(folder: Path) -> list[shapely.Polygon]:
    """`images/0.tif`, `images/1.tif`, `houses.gpkg` in degrees; the houses on the ground, in metres."""
    ground = []
    for image in range(2):
        noise = np.random.default_rng(10 + image).integers(60, 140, (3, ROWS * PX, COLS * PX), np.uint8)
        write_tif(folder / f"images/{image}.tif", noise, affine_of(image), UTM)
        a = affine_of(image)
        ground += [shapely.transform(house, lambda xy, a=a: xy * (a.a, a.e) + (a.c, a.f)) for house in houses(image)]
    wkb = np.array([shapely.to_wkb(house) for house in ground], object)
    pyogrio.raw.write(folder / "houses.gpkg", wkb, [], [], driver="GPKG", crs=UTM, geometry_type="Polygon")
    return ground


def write_plan(folder: Path, **changed: Any) -> Path:
    """A plan for it with two regions, of ten pairs in shards of four."""
    shared = {"imagery_licence": "CC-BY-4.0", "footprints_licence": "ODbL-1.0", "taken": TAKEN}
    one = {"name": "alpha", "imagery": "images/0.tif", "footprints": "houses.gpkg", "disasters": {"flooding": 1}}
    other = {"name": "beta", "imagery": "images", "footprints": "houses.gpkg", "disasters": {"fire": 1, "wind": 2}}
    plan: dict[str, Any] = {
        "name": "test-set",
        "pairs": 10,
        "tile_px": PX,
        "min_buildings": 3,
        "shard": 4,
        "regions": [one | shared | {"attribution": "Survey of Alpha"}, other | shared],
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan | changed))
    return path


def make(plan: Path, run: Path, out: Path, **options: Any) -> None:
    """A set, with one step per image."""
    defaults: dict[str, Any] = {"shard": None, "base": None, "judging": None, "remakes": 3, "geotiff": False}
    make_set(plan, run, out, **defaults | {"sampling": Sampling(steps=1, batch_size=16)} | options)
