"""A pair as files of an xView2 release, with a STAC item, and as GeoTIFFs if asked."""

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

from data.errors import DataError
from data.imagery.geo import to_degrees
from data.imagery.grids import Grid, apply
from data.patches.mask import damage_mask
from data.sources.labels import Phase
from data.storage import reraise_disk_errors, whole
from data.strict_json import as_json
from generate.inputs import Pixels
from generate.region.plan import Region
from generate.region.tile import DIGITS, Tile
from generate.stamp import SYNTHETIC, tags

SPLIT = "train"
STAC = "stac"
GEOTIFF = "geotiff"
KINDS = ("images", "labels", "targets")
# Some readers, such as torchgeo's, look for both splits of the challenge before they read one.
FOLDERS = (*(f"{split}/{kind}" for split in (SPLIT, "test") for kind in KINDS), STAC)
SPDX = frozenset({"CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "ODbL-1.0", "PDDL-1.0", "ODC-By-1.0"})


def files_of(
    tile: Tile, region: Region, png: Mapping[str, bytes], post: bytes, made: Mapping[str, Any]
) -> dict[str, bytes]:
    """Name -> content of every file of a pair, relative to the release.

    Args:
        tile: what it shows.
        region: where it lies.
        png: encoded `pre`, `pre_target`, `post_target`.
        post: the PNG of the post image.
        made: what made it.
    """
    images = {"pre": png["pre"], "post": post}
    files: dict[str, bytes] = {}
    for phase in ("pre", "post"):
        stem = f"{tile.scene_id}_{phase}_disaster"
        files[f"{SPLIT}/images/{stem}.png"] = images[phase]
        files[f"{SPLIT}/labels/{stem}.json"] = as_json(label_of(tile, region, phase, made), None).encode()
        files[f"{SPLIT}/targets/{stem}_target.png"] = png[f"{phase}_target"]
    files[f"{STAC}/{tile.scene_id}.json"] = as_json(stac_item(tile, region, made)).encode()
    return files


def targets_of(tile: Tile) -> dict[Phase, NDArray[np.uint8]]:
    """As the official targets are painted: 0 and 1 before, 0 to 4 after."""
    target = damage_mask(tile.buildings, tile.cell.side, tile.cell.side, "xview2")
    return {"pre": np.minimum(target, 1).astype(np.uint8), "post": target}


def label_of(tile: Tile, region: Region, phase: Phase, made: Mapping[str, Any]) -> dict[str, Any]:
    """The label file of one image; after the disaster it has the invented damage."""
    features: dict[str, list[dict[str, Any]]] = {"lng_lat": [], "xy": []}
    for building in tile.buildings:
        damage = {"subtype": building.subtype} if phase == "post" else {}
        properties = {"feature_type": "building", **damage, "uid": building.uid}
        degrees = shapely.transform(building.polygon, lambda xy: _degrees(tile.cell.grid, xy))
        features["lng_lat"].append({"properties": properties, "wkt": shapely.to_wkt(degrees, rounding_precision=10)})
        wkt = shapely.to_wkt(building.polygon, rounding_precision=DIGITS)
        features["xy"].append({"properties": properties, "wkt": wkt})
    name, side = f"{tile.scene_id}_{phase}_disaster.png", tile.cell.side
    metadata = {
        "sensor": "",
        "gsd": round(tile.location.pixel_size_m, 6) if phase == "pre" else None,
        "capture_date": f"{region.taken}T00:00:00.000Z" if phase == "pre" else None,
        "disaster": tile.event,
        "disaster_type": tile.draw.disaster,
        "original_width": side,
        "original_height": side,
        "width": side,
        "height": side,
        "id": urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, name).bytes).decode().rstrip("="),
        "img_name": name,
        "synthetic": phase == "post",
        "damage_is_invented": True,
        "pre2post": dict(made),
    }
    return {"features": features, "metadata": {name: value for name, value in metadata.items() if value is not None}}


def stac_item(tile: Tile, region: Region, made: Mapping[str, Any]) -> dict[str, Any]:
    """A STAC 1.0 item of the pair; its links and assets are relative to the file."""
    side = tile.cell.side
    corners = _degrees(tile.cell.grid, np.array([(0, 0), (side, 0), (side, side), (0, side), (0, 0)], float))
    edges = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
    stem = tile.scene_id
    png = {"type": "image/png"}
    assets: dict[str, dict[str, Any]] = {}
    for phase, role in (("pre", "data"), ("post", "synthetic")):
        image = {"href": f"../{SPLIT}/images/{stem}_{phase}_disaster.png", **png, "roles": [role]}
        label = {"href": f"../{SPLIT}/labels/{stem}_{phase}_disaster.json", "type": "application/json"}
        target = {"href": f"../{SPLIT}/targets/{stem}_{phase}_disaster_target.png", **png, "roles": ["labels"]}
        assets |= {phase: image, f"{phase}_label": label | {"roles": ["labels"]}, f"{phase}_target": target}
    assets["post"]["description"] = SYNTHETIC
    licence = region.imagery_licence if region.imagery_licence in SPDX else "other"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": stem,
        "bbox": [round(edge, 8) for edge in edges],
        "geometry": {"type": "Polygon", "coordinates": [[[round(x, 8), round(y, 8)] for x, y in corners.tolist()]]},
        "properties": {
            "datetime": f"{region.taken}T00:00:00Z",
            "license": licence,
            "description": f"{SYNTHETIC} The damage was invented for the footprints of a real place.",
            "pre2post:synthetic": True,
            "pre2post:provenance": dict(made),
        },
        "links": [{"rel": "collection", "href": "collection.json", "type": "application/json"}],
        "collection": str(made["set"]),
        "assets": assets,
    }


def write_geotiffs(out: Path, tile: Tile, post: Pixels, made: Mapping[str, Any]) -> list[str]:
    """Both images on their grid, in `geotiff/`; the names of the files."""
    names = []
    for phase, pixels in (("pre", tile.pre), ("post", post)):
        name = f"{GEOTIFF}/{tile.scene_id}_{phase}_disaster.tif"
        grid, side = tile.cell.grid, tile.cell.side
        profile = {
            "driver": "GTiff",
            "width": side,
            "height": side,
            "count": 3,
            "dtype": "uint8",
            "compress": "deflate",
        }
        place = {"crs": grid.crs, "transform": grid.affine, "tiled": True, "blockxsize": 256, "blockysize": 256}
        with reraise_disk_errors(out / name), whole(out / name) as path:
            with rasterio.open(path, "w", **profile, **place, photometric="RGB") as target:
                target.write(pixels.transpose(2, 0, 1))
                target.update_tags(**(tags(dict(made)) if phase == "post" else {}))
        names.append(name)
    return names


def _degrees(grid: Grid, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) pixels as longitude and latitude."""
    assert grid.crs is not None
    xs, ys = apply(grid.affine, xy[:, 0], xy[:, 1])
    degrees = to_degrees(grid.crs.to_wkt(), xs.tolist(), ys.tolist())
    if degrees is None:
        raise DataError("a tile lies outside the domain of the CRS of its image. Check the image's CRS and transform.")
    return np.stack(degrees, axis=1)
