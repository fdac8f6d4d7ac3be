"""The columns of a built dataset: one row is one patch. The contract between `data/` and every reader."""

import json
from typing import Any

import pyarrow as pa
from datasets import Features, Image, List, Value

# Values of `damage_mask` pixels and of `buildings[].damage`. 255 = visible but not assessable: ignored, never 0.
DAMAGE_VALUES = {"no-damage": 1, "minor-damage": 2, "major-damage": 3, "destroyed": 4, "un-classified": 255}

WITH_MASK = ("both", "post", "mask")  # of the column `labels`: the patch has a damage mask

# The seven numbers of `metadata_pre` and `metadata_post`, in this order, in natural units:
# degrees east, degrees north, metres per pixel of this patch, cloud fraction 0..1, year, month 1..12, day 1..31.
# An unknown number is NaN, never 0.
METADATA_FIELDS = ("lon", "lat", "gsd", "cloud_cover", "year", "month", "day")

# What the label file says about the sensor, unchanged (`gsd` here is the multispectral one, see docs/xbd.md).
SENSOR = {
    "sensor": Value("string"),
    "catalog_id": Value("string"),
    "capture_date": Value("string"),  # ISO 8601, UTC
    "gsd": Value("float32"),  # m
    "pan_resolution": Value("float32"),  # m
    "off_nadir_angle": Value("float32"),  # degrees
    "sun_azimuth": Value("float32"),
    "sun_elevation": Value("float32"),
    "target_azimuth": Value("float32"),
}

# How far a pair can be trusted, measured in its pixels (docs/pair-quality.md). NaN = unknown.
QUALITY = {
    # Share of pixels without data, 0..1: masked in the file, or black ground that reaches the border or is large.
    "nodata_fraction": Value("float32"),  # in either image
    "nodata_pre": Value("float32"),
    "nodata_post": Value("float32"),
    # (dy, dx) in px by which post must move down and right to match pre, each within +-32. NaN unless confident.
    "shift_px": List(Value("float32"), length=2),  # in these very images
    "shift_confidence": Value("float32"),  # 0..1, of `shift_px`; from 0.5 on it is confident
    "shift_source": Value("string"),  # "patch": estimated in this patch; "scene": in its whole scene; "": unknown
    "scene_shift_px": List(Value("float32"), length=2),  # of the whole scene, as delivered
    "scene_shift_confidence": Value("float32"),  # 0..1
    "moved_px": List(Value("float32"), length=2),  # (dy, dx) by which --align has moved post; 0, 0 without
    "cloud_pre": Value("float32"),  # 0..1, share of the image that looks like cloud
    "cloud_post": Value("float32"),
    "haze_pre": Value("float32"),  # 0..1, typical brightness of what should be dark: about 0.15 if clear
    "haze_post": Value("float32"),
    "sharpness_pre": Value("float32"),  # 0..1, share of the gradient's energy in the finest detail
    "sharpness_post": Value("float32"),
    # post is about gain * pre + offset, per channel (R, G, B); the offset in 8-bit values.
    "radiometric_gain": List(Value("float32"), length=3),
    "radiometric_offset": List(Value("float32"), length=3),
    "radiometric_gap": Value("float32"),  # 0..255, mean difference of the tones, 8-bit values
    "phash_pre": Value("string"),  # 64-bit perceptual hash as 16 hexadecimal digits; "" if there is nothing to see
}

FEATURES = Features(
    {
        "patch_id": Value("string"),  # f"{scene_id}_{row:04d}_{col:04d}_{size}"
        # f"{event}_{number:08d}" in a release; a part of a large raster ends in _r{row}_c{col}
        "scene_id": Value("string"),
        "event": Value("string"),  # e.g. hurricane-michael
        "disaster_type": Value("string"),  # flooding, wind, fire, earthquake, tsunami, volcano; "" if unknown
        # The release folder (train, tier1, tier3, test, hold), or as in the manifest; "" if none.
        "official_split": Value("string"),
        # Which label files the scene has: "both", "post", "pre", "mask" alone, "none". Vector files count as "pre", or
        # with damage as "post".
        "labels": Value("string"),
        "row": Value("int32"),  # top edge of the patch in the scene, px
        "col": Value("int32"),  # left edge, px
        "size": Value("int32"),  # side, px
        "pre": Image(),  # RGB uint8 PNG
        "post": Image(),
        "pre_sha256": Value("string"),  # of the encoded bytes: what caches are keyed by
        "post_sha256": Value("string"),
        "damage_mask": Image(),  # L uint8 PNG, DAMAGE_VALUES; null without a post label or mask
        "change_mask": Image(),  # L uint8 PNG, 0..255 = true strength of change; null but in simulated data
        # L uint8 PNG, 0..255 = how much of the pixel nobody could foresee: cloud, smoke, missing data; null but in
        # simulated data. Simulated data without it count these as change.
        "cover_mask": Image(),
        "post_again": Image(),  # RGB uint8 PNG, a second image of the same aftermath; null if there is none
        "captions": List(
            {
                "style": Value("string"),  # "diffusionsat", "short", "placed", "long", "chunks", or the user's
                "target": Value("string"),  # which image it describes: "pre" or "post"
                "text": Value("string"),
                "mirrored": Value("string"),  # the text for the view with left and right exchanged; null if unknown
            }
        ),
        "metadata_pre": List(Value("float32"), length=len(METADATA_FIELDS)),
        "metadata_post": List(Value("float32"), length=len(METADATA_FIELDS)),
        # Where lon/lat come from: "tile" (polygons), "raster" (its GeoTIFF), "event" (mean of its scenes), "unknown".
        "location_source": Value("string"),
        "sensor_pre": SENSOR,  # null fields without a label
        "sensor_post": SENSOR,
        "centre_lon": Value("float64"),  # of the patch, degrees; NaN if unknown
        "centre_lat": Value("float64"),
        "pixel_size_m": Value("float64"),  # geometric mean of the two axes; NaN if unknown
        "crs_wkt": Value("string"),  # EPSG:4326 for "tile", the GeoTIFF's own for "raster"; else ""
        # a, b, c, d, e, f of rasterio.Affine from pixels of this patch to `crs_wkt`; [] unless "tile" or "raster".
        "transform": List(Value("float64")),
        # Buildings per class; null without a post label. A building counts in the one patch that holds its centroid, so
        # that patches add up to the scene.
        "counts": {name.replace("-", "_"): Value("int32") for name in DAMAGE_VALUES},
        **QUALITY,
        "buildings": List(
            {
                "uid": Value("string"),
                "damage": Value("int32"),  # DAMAGE_VALUES
                "wkt": Value("string"),  # clipped to the patch, in patch pixels, x right, y down
                "counted": Value("bool"),  # its centroid lies in this patch
            }
        ),
    }
)

# More columns of a dataset in which any place has earlier images; null for a place without.
HISTORY = Features(
    {
        "history": List(Image()),  # RGB uint8 PNG of the ground of `pre`, from before it, the oldest first
        "metadata_history": List(List(Value("float32"), length=len(METADATA_FIELDS))),
    }
)


def arrow_schema(features: Features) -> pa.Schema:
    """Of a Parquet file that `datasets` 3 opens too: `List` came with 4, which also reads its predecessor."""
    schema = features.arrow_schema
    metadata = json.loads(schema.metadata[b"huggingface"])
    described = metadata["info"]["features"]
    metadata["info"]["features"] = {name: _without_list(feature) for name, feature in described.items()}
    return schema.with_metadata({"huggingface": json.dumps(metadata)})


def _without_list(feature: Any) -> Any:  # noqa: ANN401  # a feature as JSON
    if not isinstance(feature, dict):
        return feature
    inner = {name: _without_list(value) for name, value in feature.items()}
    if inner.get("_type") != "List":
        return inner
    return {**inner, "_type": "Sequence"} if "length" in inner else [inner["feature"]]
