"""A set of pairs: what every reader of xView2 sees in it, and the same bytes however it came to be."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import yaml
from PIL import Image
from rasterio.warp import transform

from data.build import build
from data.errors import DataError
from data.patches.mask import damage_mask
from data.sources.labels import parse_label
from data.sources.release import find_release
from generate.errors import GenerateError
from generate.region.make import Maker, Verdict
from generate.region.records import all_records
from generate.region.run import Judging, make_set
from generate.region.summary import near_duplicates
from generate.sampling import Sampling
from tests.generate.region.worlds import PX, UTM, affine_of, write_plan, write_region
from tests.generate.worlds import write_micro_checkpoint

ROOT = Path(__file__).parents[3]
ONE_STEP = Sampling(steps=1, batch_size=16)


@pytest.fixture(scope="module")
def mask_run(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    return write_micro_checkpoint(
        tmp_path_factory.mktemp("runs") / "mask", micro_base, condition="pixels+mask", patch_px=64
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_region(folder)
    write_plan(folder)
    return folder


def make(plan: Path, run: Path, out: Path, **options: Any) -> None:
    defaults: dict[str, Any] = {"shard": None, "base": None, "judging": None, "remakes": 3, "geotiff": False}
    make_set(plan, run, out, **defaults | {"sampling": ONE_STEP} | options)


@pytest.fixture(scope="module")
def made(place: Path, mask_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "set"
    make(place / "plan.yaml", mask_run, out, geotiff=True)
    return out


def records(out: Path, shards: int = 3) -> list[Any]:
    return list(all_records(out, shards))


def tree(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_our_own_build_reads_it(made: Path, tmp_path: Path) -> None:
    """Every pair, and as many buildings of each class as the records say."""
    kept = [record for record in records(made) if record["outcome"] == "kept"]
    assert len(kept) >= 8
    release = find_release(made)
    assert [scene.scene_id for scene in release.scenes] == sorted(record["scene_id"] for record in kept)
    assert release.incomplete == () and release.unrecognised == ()
    assert all((made / "test" / kind).is_dir() for kind in ("images", "targets"))  # torchgeo wants them
    build(source=made, out=tmp_path / "d", size=PX, workers=1, strict=True, mask_rule="xview2")
    rows = [row for file in (tmp_path / "d/data").iterdir() for row in pq.read_table(file).to_pylist()]
    counts = {row["scene_id"]: {name.replace("_", "-"): n for name, n in row["counts"].items()} for row in rows}
    for record in kept:
        assert counts[record["scene_id"]] == record["counts"] | {"un-classified": 0}
        assert sum(record["counts"].values()) >= 3


def test_targets_are_painted_as_the_official_ones(made: Path) -> None:
    """From the label files alone; before the disaster every building is 1."""
    for label in sorted((made / "train/labels").glob("*_post_disaster.json")):
        found = parse_label(label.read_bytes(), label, "post")
        expected = damage_mask(found.buildings, PX, PX, "xview2")
        assert np.array_equal(target(label), expected)
        before = Path(str(label).replace("_post_", "_pre_"))
        assert np.array_equal(target(before), (expected > 0).astype(np.uint8))
        assert [one.uid for one in parse_label(before.read_bytes(), before, "pre").buildings] == [
            one.uid for one in found.buildings
        ]


def target(label: Path) -> Any:
    with Image.open(label.parents[1] / "targets" / f"{label.stem}_target.png") as image:
        return np.asarray(image)


def test_polygons_lie_on_the_footprints(made: Path, place: Path, tmp_path: Path) -> None:
    """In degrees, projected back to metres, they are the houses of the GeoPackage, cut at the tile's edge."""
    ground = shapely.union_all(write_region(tmp_path / "again"))
    for label in sorted((made / "train/labels").glob("*_post_disaster.json")):
        for feature in json.loads(label.read_text())["features"]["lng_lat"]:
            degrees = shapely.from_wkt(feature["wkt"])
            metres = shapely.transform(degrees, lambda xy: np.stack(transform("EPSG:4326", UTM, *xy.T), axis=1))
            assert metres.buffer(-0.01).within(ground)
            assert metres.area > 10


def test_pre_images_are_cut_from_the_source_and_post_images_say_that_they_are_made(made: Path, place: Path) -> None:
    import rasterio

    for record in (one for one in records(made) if one["outcome"] == "kept"):
        stem = made / f"train/images/{record['scene_id']}"
        with Image.open(f"{stem}_post_disaster.png") as image:
            assert image.info["SYNTHETIC"] == "yes"
            about = json.loads(image.info["PRE2POST"])
        assert about["imagery_licence"] == "CC-BY-4.0" and about["prompt"] and about["checkpoint_sha256"]
        row, col, side = about["source_window"]
        with rasterio.open(place / about["source_image"]) as source:
            cut = source.read()[:, row : row + side, col : col + side].transpose(1, 2, 0)
        with Image.open(f"{stem}_pre_disaster.png") as image:
            assert np.array_equal(np.asarray(image), cut)
        item = json.loads((made / f"stac/{record['scene_id']}.json").read_text())
        assert item["properties"]["pre2post:synthetic"] is True and item["properties"]["license"] == "CC-BY-4.0"
        assert all((made / "stac" / asset["href"]).is_file() for asset in item["assets"].values())
        with rasterio.open(made / f"geotiff/{record['scene_id']}_post_disaster.tif") as tiff:
            image_number = int(Path(about["source_image"]).stem)
            assert tiff.transform.almost_equals(affine_of(image_number) @ tiff.transform.translation(col, row))
            assert tiff.tags()["SYNTHETIC"] == "yes"


def test_what_goes_with_the_set(made: Path) -> None:
    card = (made / "README.md").read_text()
    for words in (
        "Survey of Alpha",
        "ODbL-1.0",
        "No image of xBD is redistributed",
        "No judge looked",
        "Known failures",
    ):
        assert words in card
    links = json.loads((made / "stac/collection.json").read_text())["links"]
    kept = [one["scene_id"] for one in records(made) if one["outcome"] == "kept"]
    assert [link["href"] for link in links] == [f"{name}.json" for name in kept]
    assert (made / "report.html").read_text().count("<figure>") == min(12, len(kept))


def test_the_empty_tile_is_passed_over(made: Path) -> None:
    """The plan has more tiles than one region has places with houses for all draws: nothing is kept without houses."""
    for record in records(made):
        assert (record["outcome"] == "kept") == ("scene_id" in record)
        assert record["passed_over"].keys() <= {"too few buildings"}


def test_interrupted_anywhere_and_shared_it_is_the_same(
    place: Path, mask_run: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after every tile, before its record; shards made in another order; a lock held by another command."""
    out, make_one = tmp_path / "set", Maker.make
    for number in range(10):

        def stop_after(self: Maker, folder: Path, tile: int, number: int = number) -> Any:
            record = make_one(self, folder, tile)
            if tile == number:
                raise KeyboardInterrupt
            return record

        with monkeypatch.context() as patched:
            patched.setattr(Maker, "make", stop_after)
            with pytest.raises(KeyboardInterrupt):
                make(place / "plan.yaml", mask_run, out, geotiff=True, shard=number // 4 if number % 2 else None)
    make(place / "plan.yaml", mask_run, out, geotiff=True)
    assert tree(out) == tree(made)


@pytest.mark.slow
def test_killed_and_made_by_two_processes_at_once_it_is_the_same(
    place: Path, mask_run: Path, made: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a file, three times; then two commands finish it together."""
    files = [str(path) for path in (place / "plan.yaml", mask_run, tmp_path / "set")]
    command = [sys.executable, "-m", "tests.generate.region.killed", *files]
    for killed_at in (3, 10, 17):
        done = subprocess.run([*command, str(killed_at)], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    two = [subprocess.Popen([*command, "0"], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate() and process.returncode for process in two] == [0, 0]
    left = [path.name for path in (tmp_path / "set").rglob("*.partial")]
    assert not left
    assert tree(tmp_path / "set") == tree(made)


def test_a_shard_alone_is_the_shard_of_the_whole(place: Path, mask_run: Path, made: Path, tmp_path: Path) -> None:
    make(place / "plan.yaml", mask_run, tmp_path / "set", shard=2, geotiff=True)
    alone, whole = tree(tmp_path / "set"), tree(made)
    assert "records/shard-00000002.jsonl" in alone and "README.md" not in alone
    assert {name: whole[name] for name in alone} == alone
    with pytest.raises(GenerateError, match="shard is 3; the plan has 3 shards, 0 to 2"):
        make(place / "plan.yaml", mask_run, tmp_path / "set", shard=3)


def test_a_judge_has_pairs_made_again_and_drops_what_stays_bad(place: Path, mask_run: Path, tmp_path: Path) -> None:
    """Images of odd seeds are refused, and those of one disaster always; what is kept has other noise."""
    seeds: list[bytes] = []

    def judge(pre: Any, post: Any, asked: Any, ids: Any) -> Verdict:
        assert pre.shape == post.shape == (PX, PX, 3) and asked.shape == ids.shape == (PX, PX)
        assert set(np.unique(ids[asked == 0])) <= {0} and (ids > 0).sum() == (asked > 0).sum()
        seeds.append(post.tobytes())
        bad = (asked == 4).sum() > 0.3 * (asked > 0).sum()
        return Verdict(0.5, 1.0, "damage not seen: x" if bad or len(seeds) % 2 else "")

    out = tmp_path / "set"
    make(place / "plan.yaml", mask_run, out, remakes=2, judging=lambda: Judging(judge, FACTS))
    found = records(out)
    assert len(set(seeds)) == len(seeds) == sum(record["attempts"] for record in found)
    assert {record["outcome"] for record in found} >= {"kept", "dropped"}
    for record in found:
        assert len(record["rejected"]) == record["attempts"] - (record["outcome"] == "kept")
        assert record["outcome"] != "dropped" or (record["attempts"] == 3 and "files" not in record)
    card = (out / "README.md").read_text()
    assert "judge: damage not seen" in card and "thresholds from 40 real scenes" in card
    images = list((out / "train/images").glob("*_post_*"))
    assert len(images) == sum(record["outcome"] == "kept" for record in found)


FACTS = {"least_seen": 0.4, "most_outside": 9.0, "calibration_scenes": 40, "false_rejection": 0.05}


def test_a_set_stays_what_it_was_begun_as(place: Path, mask_run: Path, tmp_path: Path) -> None:
    """Another plan, another image, somebody's folder; a resumed run names what differs."""
    write_region(tmp_path)
    plan, out = write_plan(tmp_path, pairs=2), tmp_path / "set"
    make(plan, mask_run, out)
    with pytest.raises(GenerateError, match=r"plan\.pairs was 2, and is 3 now"):
        make(write_plan(tmp_path, pairs=3), mask_run, out)
    write_plan(tmp_path, pairs=2)
    with (tmp_path / "images/1.tif").open("ab") as file:
        file.write(b"more")
    with pytest.raises(GenerateError, match=r"regions\[1\]\.images\.images/1\.tif was"):
        make(plan, mask_run, out)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/me.txt").write_text("mine")
    with pytest.raises(GenerateError, match=r"contains other files \(me\.txt\)"):
        make(plan, mask_run, tmp_path / "home")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"imagery": "nowhere/*.tif"}, "no GeoTIFF found"),
        ({"imagery": "https://tiles/{z}/{x}/{y}.png"}, "addresses and XYZ tiles are not read"),
        ({"footprints": "far.gpkg"}, "does not overlap 0.tif"),
        ({"footprints": "none.gpkg"}, "cannot be read"),
        ({"imagery": "deep.tif"}, "holds uint16, expected 8 bits"),
        ({"imagery": "nowhere.tif"}, "no GeoTIFF found"),
        ({"imagery": "plain.tif"}, "has no CRS"),
        ({"imagery": "small.tif"}, "no image of at least 64 x 64 px"),
        ({"bbox": [100, 10, 101, 11]}, "no image of at least"),
    ],
)
def test_regions_that_cannot_be_used(
    place: Path, mask_run: Path, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    import pyogrio

    from tests.data.rasters import write_tif

    write_region(tmp_path)
    plan = yaml.safe_load(write_plan(tmp_path).read_text())
    plan["regions"][0] |= changed
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    pixels = np.ones((3, 80, 80), np.uint16)
    write_tif(tmp_path / "deep.tif", pixels, affine_of(0), UTM)
    write_tif(tmp_path / "plain.tif", pixels.astype(np.uint8), crs=None)
    write_tif(tmp_path / "small.tif", pixels[:, :9, :9].astype(np.uint8), affine_of(0), UTM)
    wkb = np.array([shapely.to_wkb(shapely.box(620_000, 5_600_000, 620_010, 5_600_010))], object)
    pyogrio.raw.write(tmp_path / "far.gpkg", wkb, [], [], driver="GPKG", crs=UTM, geometry_type="Polygon")
    with pytest.raises((GenerateError, DataError), match=words) as error:
        make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    assert "region alpha" in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_stac_collection_names_the_images(place: Path, mask_run: Path, tmp_path: Path) -> None:
    write_region(tmp_path)
    items: list[Any] = [
        {"id": "a", "assets": {"thumbnail": {"href": "x.png"}, "visual": {"href": "images/0.tif", "roles": ["data"]}}},
        {"id": "b", "assets": {"image": {"href": "./images/1.tif", "roles": ["data"]}}},
    ]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    plan = yaml.safe_load(write_plan(tmp_path, pairs=2).read_text())
    plan["regions"] = [plan["regions"][0] | {"imagery": "items.json"}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    images = json.loads((tmp_path / "set/set.json").read_text())["regions"][0]["images"]
    assert list(images) == ["images/0.tif", "./images/1.tif"]
    items[0]["assets"]["visual"]["href"] = "https://example.org/0.tif"
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with pytest.raises(GenerateError, match="is not on this disk, and nothing is downloaded"):
        make(tmp_path / "plan.yaml", mask_run, tmp_path / "other")


def test_a_checkpoint_without_masks_is_refused(place: Path, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="takes no damage mask"):
        make(place / "plan.yaml", run_folder, tmp_path / "set")


def test_near_duplicates_are_counted_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 60)]
    hashes += [hashes[3] ^ 0b111, hashes[9], hashes[20] ^ (1 << 63 | 1 << 40), hashes[30] ^ 0b11111]
    expected = sum(any((one ^ other).bit_count() <= 3 for other in hashes[:i]) for i, one in enumerate(hashes))
    assert near_duplicates(hashes) == expected == 3
