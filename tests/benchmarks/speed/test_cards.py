"""The page of recipes says what the rules say."""

from pathlib import Path

import pytest

from benchmarks.speed.cards import in_parts, on_card, with_tokenizers
from tests.real import real
from tests.test_house import ROOT

PAGE = (ROOT / "docs/recipes.md").read_text()


def test_the_page_has_every_recipe() -> None:
    recipes = sorted(path.name for path in (ROOT / "configs").glob("*.yaml") if path.name != "tiny_base.yaml")
    table = PAGE[PAGE.index("| file | resolution, micro-batch") :].split("\n\n")[0]
    assert [row.split("`")[1] for row in table.splitlines()[2:]] == recipes


@pytest.mark.real
def test_the_page_has_the_rows_that_the_rules_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some of them: a row takes five seconds."""
    base = with_tokenizers(real("base_configs"), "stable-diffusion-2-1", tmp_path)
    monkeypatch.chdir(ROOT)
    rows = [
        on_card(base, "gpu_8gb", "RTX 3070, 8 GB"),
        on_card(base, "xbd_sd21_512", "A100, 80 GB"),
        in_parts(ROOT / "configs/xbd_inpainting.yaml", {base.name: base}),
    ]
    assert not set(rows) - set(PAGE.splitlines())
