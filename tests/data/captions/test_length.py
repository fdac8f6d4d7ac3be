"""The length estimate against the real CLIP tokenizer, and what is done to fit."""

import re
from collections.abc import Callable
from pathlib import Path

from data.captions.length import chunks, estimated_tokens, most_important, shortened
from tests.worlds import REPOSITORY

Count = Callable[[str], int]


def test_the_rule_of_the_estimate() -> None:
    assert estimated_tokens("") == 2
    assert estimated_tokens("a damaged house") == 2 + 1 + 2 + 1
    assert estimated_tokens("107 of them.") == 2 + 3 + 1 + 1 + 1
    assert estimated_tokens("é") == 2 + 2


def test_prose_is_never_longer_than_estimated(clip_tokens: Count) -> None:
    """Paragraphs of the licence and of our pages about disasters: English that nobody wrote for this test."""
    pages: list[Path] = [REPOSITORY / "LICENSE", *(REPOSITORY / "docs" / f"{name}.md" for name in ("captions", "xbd"))]
    paragraphs = [" ".join(part.split()) for page in pages for part in re.split(r"\n\s*\n", page.read_text())]
    prose = [text for text in paragraphs if re.fullmatch(r"[A-Za-z ,.'\-;:()0-9]{80,}", text)]
    assert len(prose) >= 8
    ratios = [estimated_tokens(text) / clip_tokens(text) for text in prose]
    assert 1 <= min(ratios) and max(ratios) < 1.4


def test_clauses_are_left_out_from_the_end() -> None:
    assert shortened("one", [", two", ", three"], limit=7) == "one, two, three"  # 2 + 5
    assert shortened("one", [", two", ", three"], limit=6) == "one, two"
    assert shortened("one", [", two", ", three"], limit=1) == "one"


def test_the_least_important_sentences_go_first() -> None:
    sentences = [(0, "a."), (2, "b."), (1, "c."), (2, "d.")]  # 2 + 8 tokens
    assert most_important(sentences, limit=10) == ["a.", "b.", "c.", "d."]
    assert most_important(sentences, limit=8) == ["a.", "c.", "d."]
    assert most_important(sentences, limit=1) == ["a."]


def test_chunks_are_cut_between_sentences() -> None:
    assert chunks(["a b.", "c d.", "e f."], limit=8) == "a b. c d.\ne f."
    assert chunks(["a b.", "c d."], limit=4) == "a b.\nc d."
