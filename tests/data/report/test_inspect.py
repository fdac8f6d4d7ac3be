"""The report page."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data.build import build
from data.errors import DataError
from data.report.charts import histogram, stacked_bar
from data.report.gallery import choose
from data.report.inspect import inspect
from data.report.page import page

VOID = {"meta", "img", "br", "rect", "line", "path", "circle"}


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
    inspect(dataset=copy)
    assert (copy / "report.html").read_bytes() == (tiny_dataset / "report.html").read_bytes()


def test_words_from_files_are_escaped(tiny_dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["quarantine"] = [{"scene_id": "x", "reason": "<script>alert(1)</script>"}]
    (copy / "dataset.json").write_text(json.dumps(manifest))
    inspect(dataset=copy)
    text = (copy / "report.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text


def test_every_word_of_a_foreign_dataset_is_escaped(tiny_dataset: Path, tmp_path: Path) -> None:
    """Every text in dataset.json, values and names alike, that the page can show."""
    mark = '<img src=q onerror="1">'
    manifest = json.loads((tiny_dataset / "dataset.json").read_text())
    build = {
        name: mark if name in ("source", "seed", "split_by", "size") else value
        for name, value in manifest["build"].items()
    }
    named = [{"scene_id": mark, "reason": mark}]
    twin = {"patch_id": mark, "split": mark, "looks_like": mark, "its_split": mark, "bits": 0}
    ground = {"scene_id": mark, "split": mark, "overlaps": mark, "its_split": mark, "share": 0.5}
    foreign = manifest | {"build": build, "pre2post_version": mark, "fingerprint": mark, "quarantine": named}
    foreign |= {
        "remarks": [{"scene_id": mark, "remark": mark}],
        "scenes_in_two_splits": [mark],
        "unrecognised_files": [mark],
        "scenes_without_labels": [mark],
    }
    foreign |= {"scenes_with_one_label": [mark], "left_out": [{"patch_id": mark, "reason": mark}]}
    foreign |= {"georeference": {"not_used": [mark]}, "location_sources": {mark: 1}}
    foreign |= {"near_duplicates": {"patches": 1, "listed": [twin]}}
    leaks = {"footprints_across_splits": {"pairs": 1, "listed": [ground]}}
    foreign |= {"leaks": manifest["leaks"] | leaks | {"pictures_across_splits": {"patches": 1, "listed": [twin]}}}
    for name in ("splits", "events"):
        foreign[name] = {mark: next(iter(manifest[name].values()))}
    html = page(foreign, [mark], "", [histogram(mark, mark, [], 0, 1)], "", "", "")
    assert "<img" not in html and html.count("&lt;img") > 25


def test_a_page_that_fails_does_not_lose_the_build(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("a map without ground")

    monkeypatch.setattr("data.report.inspect.maps", fail)
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert (tmp_path / "d" / "dataset.json").is_file() and not (tmp_path / "d" / "report.html").exists()
    assert (
        "NO report.html (ZeroDivisionError: a map without ground); everything else is complete. Try again: "
        "pre2post inspect" in (capsys.readouterr().out)
    )


def test_inspect_of_another_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a built dataset"):
        inspect(dataset=tmp_path)


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
