"""The page of recipes says what the rules say."""

import pytest

from benchmarks.speed.cards import cards
from tests.real import real
from tests.test_house import ROOT


@pytest.mark.real
def test_the_page_has_the_rows_that_the_rules_give(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = real("base_configs/stable-diffusion-2-1")
    monkeypatch.chdir(ROOT)
    rows = [row for row in cards(configs=configs).splitlines() if row]
    page = (ROOT / "docs/recipes.md").read_text().splitlines()
    assert [row for row in page if row in rows] == rows
