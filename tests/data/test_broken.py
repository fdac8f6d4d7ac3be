"""Whatever is wrong with the files: the build ends, says what became of every one, and shows no traceback."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data.build import build
from data.errors import DataError
from tests.data.broken_releases import WKTS, Damage, break_release, damages
from tests.data.tiny_release import MICHAEL_0, SCENE_IDS, TESTVILLE_0, write_scene

# More by hand: PRE2POST_FUZZ=1000
EXAMPLES = int(os.environ.get("PRE2POST_FUZZ", "20"))
NAME = re.compile(r"(?P<scene_id>[a-z0-9-]+_\d{8})_(pre|post)_disaster\.((?i:png|tiff?)|json)")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes in two splits."""
    root = tmp_path_factory.mktemp("whole") / "release"
    write_scene(root / "train", SCENE_IDS[0], MICHAEL_0, ("pre", "post"))
    write_scene(root / "train", SCENE_IDS[1], [], ("pre", "post"))
    write_scene(root / "hold", SCENE_IDS[3], TESTVILLE_0, ("pre", "post"), "flooding", (20.0, 50.0))
    return root


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages(), st.sampled_from([32, 64]))
@example([("text", 0, 1), ("text", 5, 4)], 32)  # JSON 100,000 levels deep; a number of 5,000 digits
@example([("bomb", 1, 0), ("bomb", 5, 2), ("loop", 6, 0)], 32)
@example([("odd bytes", 4, 0), ("rename", 0, 3)], 32)
def test_every_file_is_accounted_for(whole: Path, struck: list[Damage], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = Path(shutil.copytree(whole, folder / "release"))
        break_release(release, struck)
        try:
            build(source=release, out=folder / "d", size=size, workers=1)
        except DataError as error:
            assert len(str(error)) > 20
            assert not [path.name for path in folder.iterdir() if path.name != "release"]
            return
        assert not set(_files(release)) - set(_told(folder / "d", release))


def _files(release: Path) -> Iterator[str]:
    """What the release holds in its folders of images and labels: scene ids, and other names."""
    images = [*release.glob("*/images/*")]
    with_images = {match["scene_id"] for path in images if (match := NAME.fullmatch(path.name))}
    for path in [*images, *release.glob("*/labels/*")]:
        match = NAME.fullmatch(path.name)
        if match and match["scene_id"] in with_images:
            yield match["scene_id"]
        elif not path.name.startswith("."):
            yield _printable(f"{path.parent.parent.name}/{path.parent.name}/{path.name}")


def _printable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _told(out: Path, release: Path) -> Iterator[str]:
    """Scenes and files that the dataset speaks of."""
    manifest = json.loads((out / "dataset.json").read_text())
    for file in (out / "data").iterdir():
        yield from pq.read_table(file, columns=["scene_id"])["scene_id"].to_pylist()
    yield from (entry["scene_id"] for entry in manifest["quarantine"])
    yield from manifest["unrecognised_files"]


def test_every_bad_polygon_is_used_repaired_or_named(tmp_path: Path) -> None:
    """Scene i has bad polygon i."""
    labels = tmp_path / "release" / "train" / "labels"
    for i, wkt in enumerate(WKTS):
        scene_id = f"event-{'abcdefghijklmnopqrstuvwxyz'[i]}_{i:08d}"
        write_scene(labels.parent, scene_id, MICHAEL_0, ("post",), origin=(i, 50))
        path = labels / f"{scene_id}_post_disaster.json"
        document = json.loads(path.read_text())
        document["features"]["xy"][0]["wkt"] = wkt
        path.write_text(json.dumps(document))
    build(source=tmp_path / "release", out=tmp_path / "d", size=64, workers=1)
    manifest = json.loads((tmp_path / "d" / "dataset.json").read_text())
    refused = {int(entry["scene_id"].rsplit("_", 1)[1]): entry["reason"] for entry in manifest["quarantine"]}
    # No area, crossing itself, 3-D, two parts, past the border, a hole larger than its house, a line of four points.
    used = set(range(len(WKTS))) - set(refused)
    assert used == {3, 4, 7, 8, 13, 14, 15}
    assert all(f"features.xy[0].wkt is {WKTS[i]!r}"[:60] in reason for i, reason in refused.items())
    counted = sum(manifest["splits"]["train"]["buildings"].values())
    assert counted + manifest["polygons"]["dropped"] == len(used) * len(MICHAEL_0)
