"""A set of pairs: what every reader of xView2 sees in it, and the same bytes however it came to be."""

import hashlib
import json
import signal
import tracemalloc
from collections import defaultdict
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image
from rasterio.warp import transform

from data.build import build
from data.examples.invented_damage import CLASSES
from data.imagery.geo import window_affine
from data.patches.mask import damage_mask
from data.sources.labels import parse_label
from data.sources.release import find_release
from generate.errors import GenerateError
from generate.region.make import Made, Maker, Ready, Verdict
from generate.region.records import all_records
from generate.region.run import Judging
from tests.browser import assert_fits_every_screen, needs_browser
from tests.forked import ended, forked
from tests.generate.region.worlds import PX, UTM, affine_of, make, write_plan, write_region


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
        corners = shapely.get_coordinates([one.polygon for one in found.buildings])
        assert np.round(corners).max() < PX  # outlines past the image are not painted alike by OpenCV
        assert np.array_equal(target(label), expected)
        before = Path(str(label).replace("_post_", "_pre_"))
        assert np.array_equal(target(before), (expected > 0).astype(np.uint8))
        assert [one.uid for one in parse_label(before.read_bytes(), before, "pre").buildings] == [
            one.uid for one in found.buildings
        ]


def test_opencv_paints_the_same_targets(made: Path) -> None:
    """As the official script does: rounded corners, fillPoly, one building after the other."""
    cv2 = pytest.importorskip("cv2")
    for label in sorted((made / "train/labels").glob("*_post_disaster.json")):
        painted = np.zeros((PX, PX), np.uint8)
        for one in parse_label(label.read_bytes(), label, "post").buildings:
            corners = np.array(one.polygon.exterior.coords).round().astype(np.int32)
            cv2.fillPoly(painted, [corners], 1 + CLASSES.index(one.subtype))
        assert np.array_equal(target(label), painted)


def test_torchgeo_reads_it(made: Path) -> None:
    """Every pair, and as many pixels of each class as the targets hold; ground and no damage share the 0."""
    xview = pytest.importorskip("torchgeo.datasets").XView2
    found = xview(str(made), "train")
    labels = sorted((made / "train/labels").glob("*_post_disaster.json"))
    assert len(found) == len(labels) == sum(record["outcome"] == "kept" for record in records(made))
    pixels = np.sum([np.bincount(target(label).ravel(), minlength=5) for label in labels], axis=0)
    assert tuple(found[0]["image"].shape) == (2, 3, PX, PX)
    seen = np.sum([np.bincount(found[i]["mask"].numpy().ravel(), minlength=4) for i in range(len(found))], axis=0)
    assert seen.tolist() == [pixels[0] + pixels[1], *pixels[2:]]


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
            assert tiff.transform.almost_equals(window_affine(affine_of(image_number), row, col))
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


@needs_browser
def test_the_report_fits_every_screen(made: Path, tmp_path: Path) -> None:
    assert_fits_every_screen(made / "report.html", tmp_path)


def test_the_empty_tile_is_passed_over(made: Path) -> None:
    """The plan has more tiles than one region has places with houses for all draws: nothing is kept without houses."""
    for record in records(made):
        assert (record["outcome"] == "kept") == ("scene_id" in record)
        assert record["passed_over"].keys() <= {"too few buildings"}


def test_interrupted_anywhere_and_shared_it_is_the_same(
    place: Path, mask_run: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after every tile, before its record; shards made in another order; a lock held by another command."""
    out, write = tmp_path / "set", Maker.write
    for number in range(10):

        def stop_after(self: Maker, folder: Path, ready: Ready, made: Made | None, number: int = number) -> Any:
            record = write(self, folder, ready, made)
            if record["tile"] == number:
                raise KeyboardInterrupt
            return record

        with monkeypatch.context() as patched:
            patched.setattr(Maker, "write", stop_after)
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

    def begun(name: str, killed_at: int) -> BaseProcess:
        return forked(tmp_path / name, {}, "tests.generate.region.killed", *files, str(killed_at))

    for number in (3, 10, 17):
        assert ended(begun(f"killed at {number}", number)) == -signal.SIGKILL
    assert [ended(process) for process in (begun("one", 0), begun("other", 0))] == [0, 0]
    left = [path.name for path in (tmp_path / "set").rglob("*.partial")]
    assert not left
    assert tree(tmp_path / "set") == tree(made)


def test_killed_between_the_last_line_and_its_name(place: Path, mask_run: Path, made: Path, tmp_path: Path) -> None:
    """All lines of a shard are there, under its former name: it is done."""
    out = tmp_path / "set"
    make(place / "plan.yaml", mask_run, out, geotiff=True, shard=1)
    (out / "records/shard-00000001.jsonl").rename(out / "records/partial-00000001.jsonl")
    make(place / "plan.yaml", mask_run, out, geotiff=True)
    assert tree(out) == tree(made)


def test_the_next_tile_is_prepared_and_the_last_one_written_meanwhile(
    place: Path, mask_run: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generating waits until the next tile was prepared and the last one is being written; the bytes are the same."""
    prepared: dict[int, Event] = defaultdict(Event)
    begun: dict[int, Event] = defaultdict(Event)
    prepare, generate, write = Maker.prepare, Maker.generate, Maker.write

    def preparing(self: Maker, number: int) -> Ready:
        ready = prepare(self, number)
        prepared[number].set()
        return ready

    def generating(self: Maker, ready: Ready) -> Made | None:
        number = ready.record["tile"]
        shard = self.plan.of_shard(number // self.plan.shard)
        assert number + 1 not in shard or prepared[number + 1].wait(60)
        assert number - 1 not in shard or begun[number - 1].wait(60)
        return generate(self, ready)

    def writing(self: Maker, out: Path, ready: Ready, made: Made | None) -> Any:
        begun[ready.record["tile"]].set()
        return write(self, out, ready, made)

    for name, step in (("prepare", preparing), ("generate", generating), ("write", writing)):
        monkeypatch.setattr(Maker, name, step)
    make(place / "plan.yaml", mask_run, tmp_path / "set", geotiff=True)
    assert tree(tmp_path / "set") == tree(made)


def test_a_shard_alone_is_the_shard_of_the_whole(place: Path, mask_run: Path, made: Path, tmp_path: Path) -> None:
    make(place / "plan.yaml", mask_run, tmp_path / "set", shard=2, geotiff=True)
    alone, whole = tree(tmp_path / "set"), tree(made)
    assert "records/shard-00000002.jsonl" in alone and "README.md" not in alone
    assert {name: whole[name] for name in alone} == alone
    with pytest.raises(GenerateError, match="shard is 3; the plan has 3 shards, 0 to 2"):
        make(place / "plan.yaml", mask_run, tmp_path / "set", shard=3)


def test_one_shard_of_a_hundred_thousand_tiles(place: Path, mask_run: Path, tmp_path: Path) -> None:
    """Alone, and in the memory of its own tiles: nothing is listed."""
    write_region(tmp_path)
    plan = write_plan(tmp_path, pairs=100_000, shard=4)
    make(plan, mask_run, tmp_path / "warm", shard=0)
    tracemalloc.start()
    make(plan, mask_run, tmp_path / "set", shard=24_999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # networks and images of one tile
    lines = (tmp_path / "set/records/shard-00024999.jsonl").read_text().splitlines()
    assert [json.loads(line)["tile"] for line in lines] == [99_996, 99_997, 99_998, 99_999]


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
    make(place / "plan.yaml", mask_run, out, remakes=2, judging=lambda plan: Judging(judge, FACTS))
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
