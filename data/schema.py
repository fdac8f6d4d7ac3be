"""The columns of a built dataset: one row is one patch. The contract between `data/` and every reader."""

from datasets import Features, Image, List, Value

# Values of `damage_mask` pixels and of `buildings[].damage`. 255 = visible but not assessable: ignored, never 0.
DAMAGE_VALUES = {
    "no-damage": 1,
    "minor-damage": 2,
    "major-damage": 3,
    "destroyed": 4,
    "un-classified": 255,
}

# The seven numbers of `metadata_pre` and `metadata_post`, in this order, in natural units:
# degrees east, degrees north, metres per pixel of this patch, cloud fraction 0..1, year, month 1..12, day 1..31.
# An unknown number is NaN, never 0.
METADATA_FIELDS = ("lon", "lat", "gsd", "cloud_cover", "year", "month", "day")

# What the label file says of the sensor, unchanged (`gsd` here is the multispectral one, see docs/xbd.md).
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

FEATURES = Features(
    {
        "patch_id": Value("string"),  # f"{scene_id}_{row:04d}_{col:04d}_{size}"
        "scene_id": Value("string"),  # f"{event}_{number:08d}", as in the release
        "event": Value("string"),  # e.g. hurricane-michael
        "disaster_type": Value("string"),  # flooding, wind, fire, earthquake, tsunami, volcano; "" if unknown
        "official_split": Value("string"),  # the release folder: train, tier1, tier3, test, hold; "" if it has none
        "labels": Value("string"),  # which label files the scene has: "both", "post", "pre", "none"
        "row": Value("int32"),  # top edge of the patch in the scene, px
        "col": Value("int32"),  # left edge, px
        "size": Value("int32"),  # side, px
        "pre": Image(),  # RGB uint8 PNG
        "post": Image(),
        "pre_sha256": Value("string"),  # of the encoded bytes: what caches are keyed by
        "post_sha256": Value("string"),
        "damage_mask": Image(),  # L uint8 PNG, DAMAGE_VALUES; null without a post label
        "change_mask": Image(),  # L uint8 PNG, 0..255 = true strength of change; null but in simulated data
        "captions": List(
            {
                "style": Value("string"),  # "diffusionsat", "short", "long", "chunks" (a line per part), or the user's
                "target": Value("string"),  # which image it describes: "pre" or "post"
                "text": Value("string"),
                "mirrored": Value("string"),  # the text for the view with left and right exchanged; null if unknown
            }
        ),
        "metadata_pre": List(Value("float32"), length=len(METADATA_FIELDS)),
        "metadata_post": List(Value("float32"), length=len(METADATA_FIELDS)),
        "location_source": Value("string"),  # where lon/lat come from: "tile", "event" (mean of its scenes), "unknown"
        "sensor_pre": SENSOR,  # null fields without a label
        "sensor_post": SENSOR,
        "centre_lon": Value("float64"),  # of the patch, degrees; NaN if unknown
        "centre_lat": Value("float64"),
        "pixel_size_m": Value("float64"),  # geometric mean of the two axes; NaN if unknown
        "crs_wkt": Value("string"),  # EPSG:4326 as WKT; "" unless location_source is "tile"
        "transform": List(Value("float64")),  # a, b, c, d, e, f of rasterio.Affine for this patch; [] unless "tile"
        # Buildings per class; null without a post label. A building counts in the one patch that holds its centroid, so
        # that patches add up to the scene.
        "counts": {name.replace("-", "_"): Value("int32") for name in DAMAGE_VALUES},
        "nodata_fraction": Value("float32"),  # share of pixels that are exactly black in either image
        "shift_px": List(Value("float32"), length=2),  # (dy, dx) by which post must move to lie on pre
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
