"""A tutorial does what it says: its commands, word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from pyarrow.parquet import ParquetFile

from tests.test_house import ROOT

PAGES = {path.stem: path for path in sorted((ROOT / "docs/tutorials").glob("*.md"))}
BASH = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_agency_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """In a folder that has nothing but the configs."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(BASH.findall(PAGES["agency"].read_text()))
    done = subprocess.run(
        ["bash", "-euxc", script], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    assert len(lines) == len(list((tmp_path / "practice/tiles/geotiff").glob("*_post.tif"))) == 8
    shards = (tmp_path / "datasets/region").rglob("*.parquet")
    assert sum(ParquetFile(shard).metadata.num_rows for shard in shards) == 8 * 4  # 512 px in 256 px patches
    (image,) = (tmp_path / "generated").glob("*.tif")
    pre = sorted((tmp_path / "practice/tiles/geotiff").glob("*_pre.tif"))[0]
    with rasterio.open(image, driver="GTiff") as made, rasterio.open(pre, driver="GTiff") as given:
        assert (made.crs, made.transform, made.shape) == (given.crs, given.transform, given.shape)
        assert made.tags()["SYNTHETIC"] == "yes"
    assert "SYNTHETIC" in done.stdout  # as `rio info` shows it
    assert (tmp_path / "scores/report.html").is_file()
