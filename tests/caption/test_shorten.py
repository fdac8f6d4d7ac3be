"""Captions that fit a base's text encoder, by the base's own tokenizer."""

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from caption.options import Shortening, Writer
from caption.run import caption
from caption.shorten import Length, fitted, with_capitals
from data.captions.length import estimated_tokens
from models.base import TINY

TOKENIZER = CLIPTokenizer.from_pretrained(TINY / "tokenizer")


def tokens(text: str) -> int:
    return len(TOKENIZER(text).input_ids)


def run(dataset: Path, llava: Path, out: Path, shortening: Shortening, batch_size: int = 4) -> list[dict[str, str]]:
    writer = Writer(model=str(llava), max_new_tokens=24, batch_size=batch_size)
    caption(dataset=dataset, out=out, limit=6, writer=writer, shortening=shortening)
    both = (out, out.with_name(f"{out.stem}.quarantined.jsonl"))
    lines = [json.loads(line) for path in both for line in path.read_text().splitlines()]
    return [line for line in lines if line["model"] != "labels"]


def test_whole_sentences_are_kept() -> None:
    text = "Houses stand in rows. Roads cross the view. Trees line the river."
    length = Length(Shortening(max_tokens=tokens("Houses stand in rows. Roads cross the view.") + 1))
    assert length.cut(text) == "Houses stand in rows. Roads cross the view."
    assert fitted(text, "", length) == ("Houses stand in rows. Roads cross the view.", True)
    assert fitted(text, "Houses stand.", length) == ("Houses stand.", False)
    short = Length(Shortening(max_tokens=tokens("Houses stand in")))
    assert short.cut(text) == "Houses stand in"  # not even one sentence fits


def test_the_limit_is_that_of_the_base() -> None:
    length = Length(Shortening())
    assert length.most == 77
    assert length.fits("a " * 75) and not length.fits("a " * 76)


def test_capitals_are_those_of_the_caption() -> None:
    source = "Roofs in Panama City are gone. The Gulf coast is flooded."
    assert with_capitals("roofs are gone in panama city. water lies at the gulf.", source) == (
        "Roofs are gone in Panama City. Water lies at the Gulf."
    )


@pytest.mark.parametrize("by", ["t5", "same"])
def test_every_caption_fits(
    dataset: Path, llava: Path, t5: Path, tmp_path: Path, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shortening = Shortening(shorten=str(t5) if by == "t5" else "same", max_tokens=16)
    found = run(dataset, llava, tmp_path / "out.jsonl", shortening)
    assert len(found) == 6 and all(tokens(line["text"]) <= 16 for line in found)
    assert "still too long when shortened, and were cut after a sentence" in capsys.readouterr().out
    again = run(dataset, llava, tmp_path / "other.jsonl", shortening, batch_size=1)
    assert [line["text"] for line in again] == [line["text"] for line in found]
    plain = run(dataset, llava, tmp_path / "plain.jsonl", Shortening())
    assert max(tokens(line["text"]) for line in plain) > 16


def test_chunks_are_lines_of_whole_sentences(dataset: Path, llava: Path, tmp_path: Path) -> None:
    found = run(dataset, llava, tmp_path / "out.jsonl", Shortening(chunks=True))
    texts = {(line["patch_id"], line["style"]): line["text"] for line in found}
    assert len(texts) == 12
    for (patch, style), text in texts.items():
        if style.endswith("-chunks"):
            assert text.replace("\n", " ") == texts[patch, style.removesuffix("-chunks")]
            assert all(estimated_tokens(part) <= 77 for part in text.split("\n"))
