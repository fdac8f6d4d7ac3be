"""Captions of any length as text states, against the networks called by hand and against stock diffusers."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st

from models import load_base
from models.base import TINY
from models.text import longest, maybe_truncated, text_states, tokenize

LONG = " ".join(["a town after a flood"] * 40)  # 200 words of one or more tokens


def test_one_piece_is_what_diffusers_encodes(micro_base: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    texts = ["", "a town\nafter a flood", LONG]
    theirs, _ = pipeline.encode_prompt(texts, "cpu", 1, False)
    assert torch.equal(text_states(pipeline.tokenizer, pipeline.text_encoder, texts, 1), theirs)


def test_lines_are_pieces_and_short_captions_are_filled_up(micro_base: Path) -> None:
    base = load_base(micro_base)
    tokenizer, text_encoder = base.load_tokenizer(), base.load_text_encoder()
    states = text_states(tokenizer, text_encoder, ["a town\nafter a flood", "a town"], 3)
    assert states.shape == (2, 3 * 77, 64)

    def alone(text: str) -> torch.Tensor:
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            states: torch.Tensor = text_encoder(ids).last_hidden_state[0]
        return states

    expected = [[alone("a town"), alone("after a flood"), alone("")], [alone("a town"), alone(""), alone("")]]
    torch.testing.assert_close(states, torch.stack([torch.cat(pieces) for pieces in expected]))


def test_a_long_line_is_cut_after_75_tokens_and_nothing_is_lost(micro_base: Path) -> None:
    tokenizer = load_base(micro_base).load_tokenizer()
    words = tokenizer(LONG, add_special_tokens=False).input_ids
    pieces = -(-len(words) // 75)
    assert pieces > 2
    ids = tokenize(tokenizer, [LONG], pieces)[0].tolist()
    assert all(piece[0] == tokenizer.bos_token_id and len(piece) == 77 for piece in ids)
    found = [token for piece in ids for token in piece[1:] if token != tokenizer.eos_token_id]
    assert found == words
    assert longest(tokenizer, ["a town", LONG], pieces) == (0, pieces)
    assert longest(tokenizer, ["a town", LONG], 1) == longest(tokenizer, ["a town", LONG], 2) == (1, pieces)
    assert tokenize(tokenizer, [LONG], 2).shape == (1, 2, 77)  # what does not fit is cut off


LINES = st.integers(0, 40).map(lambda words: "after a flood, " * words)
TEXTS = st.lists(st.lists(LINES, max_size=5).map("\n".join), min_size=1, max_size=4)


@given(TEXTS, st.integers(1, 3))
def test_only_what_fills_its_pieces_can_have_been_truncated(texts: list[str], chunks: int) -> None:
    base = load_base(TINY)
    tokenizer, token_ids = base.load_tokenizer(), base.tokenize(texts, chunks)
    full = maybe_truncated(texts, token_ids, chunks, tokenizer.model_max_length)
    assert longest(tokenizer, full, chunks) == longest(tokenizer, texts, chunks)
    short = ["a town", "a town\nafter a flood"]
    assert maybe_truncated(short, base.tokenize(short, 2), 2, tokenizer.model_max_length) == []
