"""A tutorial does what it says: its commands, word for word."""

import re
from pathlib import Path

import pytest
import rasterio
from pyarrow.parquet import ParquetFile

from tests.in_bash import run_script
from tests.test_house import ROOT

PAGES = {path.stem: path for path in sorted((ROOT / "docs/tutorials").glob("*.md"))}
BASH = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # commands warn like those of users
def test_the_agency_tutorial_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has nothing but the configs."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "configs").symlink_to(ROOT / "configs")
    script = "\n".join(BASH.findall(PAGES["agency"].read_text()))
    printed = run_script(script, here, monkeypatch, {"build": ["--workers", "1"]})
    lines = (here / "pairs.jsonl").read_text().splitlines()
    assert len(lines) == len(list((here / "practice/tiles/geotiff").glob("*_post.tif"))) == 8
    shards = (here / "datasets/region").rglob("*.parquet")
    assert sum(ParquetFile(shard).metadata.num_rows for shard in shards) == 8 * 4  # 512 px in 256 px patches
    (image,) = (here / "generated").glob("*.tif")
    pre = sorted((here / "practice/tiles/geotiff").glob("*_pre.tif"))[0]
    with rasterio.open(image, driver="GTiff") as made, rasterio.open(pre, driver="GTiff") as given:
        assert (made.crs, made.transform, made.shape) == (given.crs, given.transform, given.shape)
        assert made.tags()["SYNTHETIC"] == "yes"
    assert "SYNTHETIC" in printed  # as `rio info` shows it
    assert (here / "scores/report.html").is_file()
