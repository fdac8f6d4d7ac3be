"""The report page."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data.errors import DataError
from data.report import inspect
from data.report_charts import histogram, stacked_bar
from data.report_gallery import choose

VOID = {"meta", "img", "br", "rect", "line"}


class Balance(HTMLParser):
    """Collects tags and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tiny_dataset: Path) -> None:
    text = (tiny_dataset / "report.html").read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.sources and all(source.startswith("data:image/jpeg;base64,") for source in parser.sources)
    assert "<script" not in text and "http" not in text


def test_it_shows_what_is_in_the_dataset(tiny_dataset: Path) -> None:
    text = (tiny_dataset / "report.html").read_text()
    for expected in ("testville-flood", "validation", "no post label", "hurricane-michael_00000002"):
        assert expected in text
    assert "severe damage, the only building destroyed" in text


def test_inspect_writes_the_same_page_again(tiny_dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))
    (copy / "report.html").unlink()
    inspect(copy)
    assert (copy / "report.html").read_bytes() == (tiny_dataset / "report.html").read_bytes()


def test_words_from_files_are_escaped(tiny_dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["quarantine"] = [{"scene_id": "x", "reason": "<script>alert(1)</script>"}]
    (copy / "dataset.json").write_text(json.dumps(manifest))
    inspect(copy)
    text = (copy / "report.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text


def test_inspect_of_another_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a built dataset"):
        inspect(tmp_path)


def test_the_gallery_takes_the_most_damaged_of_every_event() -> None:
    rows = [
        {"patch_id": f"{event}{i:02d}", "event": event, "damaged": i, "total": 50}
        for event in ("a", "b")
        for i in range(30)
    ]
    chosen = [row["patch_id"] for row in choose(rows)]
    assert len(chosen) == 20 and chosen[:2] == ["a29", "a28"] and chosen[10] == "b29"


def test_a_bar_shows_shares() -> None:
    bar = stacked_bar({"no_damage": 3, "minor_damage": 0, "major_damage": 0, "destroyed": 1, "un_classified": 0})
    assert "width:75.00%" in bar and "width:25.00%" in bar and bar.count("<i ") == 2


def test_a_histogram_counts_the_large_in_its_last_bar() -> None:
    chart = histogram("shift", "px", [0.1, 5, 99], 0, 10)
    assert chart.count("<rect") == 3 and "10+" in chart and "9.69 to 10: 1" in chart
    assert "nothing to show" in histogram("shift", "px", [], 0, 10)
