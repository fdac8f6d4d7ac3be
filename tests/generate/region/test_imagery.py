"""Where the images of a region come from: VRTs, STAC collections on disk and on servers, whole or broken."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given

from generate.errors import GenerateError
from generate.region.ground import Ground, survey
from generate.region.make import Maker, Ready
from generate.region.plan import read_plan
from generate.region.stac import assets_on_disk
from tests.damage import hostile, json_damage
from tests.generate.region.servers import Files, served
from tests.generate.region.worlds import COLS, PX, ROWS, make, write_plan, write_region


def planned(folder: Path, imagery: str, **changed: Any) -> Path:
    """A plan for the first region alone, with other imagery."""
    plan = yaml.safe_load(write_plan(folder, pairs=2).read_text())
    plan["regions"] = [plan["regions"][0] | {"imagery": imagery}]
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan | changed))
    return folder / "plan.yaml"


def surveyed(folder: Path, imagery: str, **changed: Any) -> Ground:
    return survey(read_plan(planned(folder, imagery, **changed)), folder)[0]


def item(name: str, href: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "assets": {"image": {"href": href, "roles": ["data"]}}, **more}


def collection(folder: Path, *items: Any, name: str = "items.json", **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"type": "FeatureCollection", "features": items, **more}
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """A served region, whose readers wait for nothing."""
    monkeypatch.setattr("generate.region.remote.FIRST_WAIT_S", 0)
    monkeypatch.setattr("generate.region.imagery.GDAL_OPTIONS", {"GDAL_HTTP_MAX_RETRY": "0"})
    write_region(tmp_path)
    with served(tmp_path, tmp_path / "control") as found:
        yield found


def write_vrt(path: Path, *names: str) -> None:
    """Both images side by side, as gdalbuildvrt would describe them; paths relative to the file."""
    wide, high = COLS * PX, ROWS * PX
    bands = ""
    for band in (1, 2, 3):
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>{band}</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="{wide}" ySize="{high}"/>'
            f'<DstRect xOff="{i * wide}" yOff="0" xSize="{wide}" ySize="{high}"/></SimpleSource>'
            for i, name in enumerate(names)
        )
        bands += f'<VRTRasterBand dataType="Byte" band="{band}">{sources}</VRTRasterBand>'
    head = f'<VRTDataset rasterXSize="{2 * wide}" rasterYSize="{high}"><SRS>EPSG:32632</SRS>'
    path.write_text(
        f"{head}<GeoTransform>600000, 0.5, 0, 5600000, 0, -0.5</GeoTransform>{bands}</VRTDataset>", encoding="utf-8"
    )


def test_a_vrt_is_one_image(tmp_path: Path) -> None:
    """Tiles across the seam of its images hold the pixels of both; another version of either is noticed."""
    write_region(tmp_path)
    write_vrt(tmp_path / "all.vrt", "images/0.tif", "images/1.tif")
    ground = surveyed(tmp_path, "all.vrt")
    assert ground.cells == 2 * ROWS * COLS
    both = []
    for i in range(2):
        with rasterio.open(tmp_path / f"images/{i}.tif") as image:
            both.append(image.read().transpose(1, 2, 0))
    whole = np.concatenate(both, axis=1)
    for index in (COLS - 1, COLS):
        pixels, valid = ground.cell(index).read()
        assert valid == 1
        assert np.array_equal(pixels, whole[:PX, index * PX : (index + 1) * PX])
    before = ground.sources[0].identity
    with (tmp_path / "images/1.tif").open("ab") as file:
        file.write(b"more")
    assert surveyed(tmp_path, "all.vrt").sources[0].identity != before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("images/0.tif", "/vsicurl/http://127.0.0.1:9/a.tif", "names '/vsicurl"),
        ("images/0.tif", "other.vrt", "names 'other.vrt'"),
        ("images/0.tif", "images/9.tif", "is not there"),
        ("<SimpleSource>", "<PixelFunctionType>x</PixelFunctionType><SimpleSource>", "PixelFunctionType"),
        ('band="2"', 'band="2" subClass="VRTDerivedRasterBand"', "VRTDerivedRasterBand"),
        ("</VRTDataset>", "", "is not a VRT"),
    ],
)
def test_a_vrt_names_geotiffs_on_disk_only(tmp_path: Path, old: str, new: str, words: str) -> None:
    write_region(tmp_path)
    write_vrt(tmp_path / "all.vrt", "images/0.tif", "images/1.tif")
    path = tmp_path / "all.vrt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(GenerateError, match=words):
        surveyed(tmp_path, "all.vrt")


def test_a_collection_on_disk(place: Path, mask_run: Path, tmp_path: Path) -> None:
    write_region(tmp_path)
    visual = {"id": "a", "assets": {"thumb": {"href": "x.png"}, "visual": {"href": "images/0.tif", "roles": ["data"]}}}
    collection(tmp_path, visual, item("b", "./images/1.tif"))
    make(planned(tmp_path, "items.json"), mask_run, tmp_path / "set")
    images = json.loads((tmp_path / "set/set.json").read_text())["regions"][0]["images"]
    assert sorted(images) == ["./images/1.tif", "images/0.tif"]
    two = {"id": "b", "assets": {name: {"href": f"{name}.tif", "roles": ["data"]} for name in "xy"}}
    for wrong, words in ((two, "item b has no asset visual"), (item("c", "s3://bucket/a.tif"), "s3://bucket/a.tif")):
        collection(tmp_path, wrong)
        with pytest.raises(GenerateError, match=words):
            surveyed(tmp_path, "items.json")


def test_a_collection_at_an_address(files: Files, mask_run: Path, tmp_path: Path) -> None:
    """The same pixels as from disk. Hrefs are relative to their item; pages follow; keys in queries are not kept."""
    self = [{"rel": "self", "href": f"{files.address}/deep/er/a.json"}]
    following = [{"rel": "next", "href": "items-2.json"}]
    collection(tmp_path / "deep", item("a", "../../images/0.tif", links=self), links=following)
    collection(tmp_path / "deep", item("b", f"{files.address}/images/1.tif?key=secret"), name="items-2.json")
    online = surveyed(tmp_path, f"{files.address}/deep/items.json")
    local = surveyed(tmp_path, "images")
    assert [source.name for source in online.sources] == [f"{files.address}/images/{i}.tif" for i in range(2)]
    assert "/images/1.tif?key=secret" in files.asked
    assert online.cells == local.cells
    for index in (0, online.cells - 1):
        assert np.array_equal(online.cell(index).read()[0], local.cell(index).read()[0])
    make(planned(tmp_path, f"{files.address}/deep/items.json"), mask_run, tmp_path / "set")
    texts = [path.read_text() for path in (tmp_path / "set").rglob("*.json*")]
    assert len(texts) >= 5 and not any("secret" in text for text in texts)


def test_a_collection_on_disk_may_name_addresses(files: Files, tmp_path: Path) -> None:
    """As the result of a search that somebody saved does."""
    collection(tmp_path, item("a", f"{files.address}/images/0.tif"))
    assert surveyed(tmp_path, "items.json").cells == ROWS * COLS


def test_a_server_that_breaks(files: Files, tmp_path: Path) -> None:
    """Twice, it is asked again; for good, one message; what it refuses is not asked for twice."""
    collection(tmp_path, item("a", "images/0.tif"))
    address = f"{files.address}/items.json"
    files.set(faults=2)
    ground = surveyed(tmp_path, address)
    assert files.asked.count("/items.json") == 3
    files.set(faults=1000)
    with pytest.raises(GenerateError, match=r"items\.json: no answer \(HTTP 503 .*, 5 times"):
        surveyed(tmp_path, address)
    files.set(faults=0)
    before = len(files.asked)
    with pytest.raises(GenerateError, match=r"gone\.json: HTTP 404"):
        surveyed(tmp_path, f"{files.address}/gone.json")
    assert len(files.asked) == before + 1
    (tmp_path / "images/0.tif").write_bytes((tmp_path / "images/1.tif").read_bytes())
    assert surveyed(tmp_path, address).sources[0].identity != ground.sources[0].identity
    files.set(in_parts=False)
    with pytest.raises(GenerateError, match=r"does not serve parts of files|cannot be opened"):
        surveyed(tmp_path, address)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"rel": "next", "href": "items.json"}, "its pages do not end"),
        ({"rel": "next", "href": "search", "method": "POST"}, "asked for by POST"),
    ],
)
def test_pages_that_cannot_be_followed(files: Files, tmp_path: Path, link: dict[str, str], words: str) -> None:
    collection(tmp_path, item("a", "images/0.tif"), links=[link])
    with pytest.raises(GenerateError, match=words):
        surveyed(tmp_path, f"{files.address}/items.json")


def test_a_server_that_ends_while_tiles_are_made(
    files: Files, mask_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message with the tile; what is done stays, and the same command finishes when it is back."""
    uncached = {"GDAL_HTTP_MAX_RETRY": "0", "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}
    monkeypatch.setattr("generate.region.imagery.GDAL_OPTIONS", uncached)
    collection(tmp_path, item("a", "images/0.tif"))
    plan = planned(tmp_path, f"{files.address}/items.json")
    make(plan, mask_run, tmp_path / "whole")
    prepare = Maker.prepare

    def only_the_first(self: Maker, number: int) -> Ready:
        files.set(faults=1000 * number)
        return prepare(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(Maker, "prepare", only_the_first)
        with pytest.raises(GenerateError, match=r"tile 1, region alpha: http://127\.0\.0\.1:\d+/images/0\.tif"):
            make(plan, mask_run, tmp_path / "set")
    assert (tmp_path / "set/records/partial-00000000.jsonl").read_text().count("\n") == 1
    files.set(faults=0)
    make(plan, mask_run, tmp_path / "set")
    name = "records/shard-00000000.jsonl"
    assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


CONTENT = {"features": [item("a", "images/0.tif", links=[{"rel": "self", "href": "x"}])], "links": []}


@given(content=json_damage(CONTENT))
@hostile
def test_damaged_collections_are_one_message_or_the_right_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "items.json").write_bytes(content)
    try:
        found = assets_on_disk(tmp_path / "items.json")
    except GenerateError as error:
        assert "items.json" in str(error)
    else:
        assert all(isinstance(one, str) for one in found)
