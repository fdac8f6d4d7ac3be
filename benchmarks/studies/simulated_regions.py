"""Write the simulated regions of configs/gbd/simulated.yaml, and a copy of it: GeoTIFF mosaics, GeoPackages.

python -m benchmarks.studies.simulated_regions --out out/simulated-regions
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from rasterio import Affine
from rasterio.windows import Window

from data.progress import Bar
from data.simulation.events import EVENTS
from data.simulation.simulate import render_scene

REGIONS = {"larkmere": 0, "monte-alvo": 3, "redgum-ridge": 2}  # indices of EVENTS
ZONES = {"larkmere": (32615, 618_000, 4_286_000), "monte-alvo": (32633, 370_000, 4_747_000)}
ZONES |= {"redgum-ridge": (32755, 444_000, 5_955_000)}
PLAN = Path(__file__).parents[2] / "configs/gbd/simulated.yaml"
SCENE_PX, PIXEL_M = 1024, 0.5


def write_region(folder: Path, name: str, rows: int, cols: int, seed: int) -> int:
    """A mosaic of rows x cols simulated scenes, each of 512 m; the number of its buildings."""
    epsg, east, north = ZONES[name]
    affine = Affine(PIXEL_M, 0, east, 0, -PIXEL_M, north)
    profile = {"driver": "GTiff", "height": rows * SCENE_PX, "width": cols * SCENE_PX, "count": 3, "dtype": "uint8"}
    profile |= {"tiled": True, "compress": "deflate", "photometric": "RGB"}
    outlines = []
    with rasterio.open(folder / f"{name}.tif", "w", crs=f"EPSG:{epsg}", transform=affine, **profile) as mosaic:
        for number in Bar(range(rows * cols), name, unit="scene"):
            row, col = divmod(number, cols)
            scene = render_scene(seed, REGIONS[name] + len(EVENTS) * number)
            window = Window(col * SCENE_PX, row * SCENE_PX, SCENE_PX, SCENE_PX)
            mosaic.write(scene.images["pre"].transpose(2, 0, 1), window=window)
            corner = np.array([col * SCENE_PX, row * SCENE_PX])
            for polygon in scene.polygons:
                outlines.append(shapely.Polygon((polygon + corner) * (PIXEL_M, -PIXEL_M) + (east, north)))
    wkb = np.array([shapely.to_wkb(outline) for outline in outlines], object)
    about = {"driver": "GPKG", "crs": f"EPSG:{epsg}", "geometry_type": "Polygon"}
    pyogrio.raw.write(folder / f"{name}.gpkg", wkb, [], [], **about)
    return len(outlines)


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2, help="scenes of 512 m from north to south; 8 are 4 km")
    parser.add_argument("--cols", type=int, default=2)
    parser.add_argument("--seed", type=int, default=77)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(PLAN, options.out)
    for name in REGIONS:
        print(name, write_region(options.out, name, options.rows, options.cols, options.seed), "buildings")


if __name__ == "__main__":
    main()
