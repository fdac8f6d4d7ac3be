"""The tokenizer of the tiny base: CLIP's order of tokens in every run, and every prompt can be spelled."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from models.tiny_networks import VOCABULARY, tiny_tokenizer

CAPTIONS = ["a satellite image of a town after a flood", "an aerial image of a harbour before a storm"]
TOKENIZER = tiny_tokenizer(CAPTIONS)


def test_tokens_are_numbered_as_in_clip() -> None:
    """Special tokens apart: letters, letters at a word's end, merges as they were learned."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(pair) for pair in json.loads(TOKENIZER.backend_tokenizer.to_str())["model"]["merges"]]
    vocabulary = TOKENIZER.get_vocab()
    assert sorted(vocabulary, key=vocabulary.__getitem__) == [
        *("<|startoftext|>", "<|endoftext|>"),
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(pair) for pair in merges),
    ]
    assert 0 < len(merges) and len(vocabulary) <= VOCABULARY


def test_learned_words_are_one_token() -> None:
    ids = TOKENIZER("A satellite image of a harbour").input_ids
    assert TOKENIZER.convert_ids_to_tokens(ids[1:-1]) == [
        f"{word}</w>" for word in ("a", "satellite", "image", "of", "a", "harbour")
    ]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_every_prompt_can_be_spelled(prompt: str) -> None:
    ids = TOKENIZER(prompt).input_ids
    assert (ids[0], ids[-1]) == (TOKENIZER.bos_token_id, TOKENIZER.eos_token_id)
    assert not {TOKENIZER.bos_token_id, TOKENIZER.eos_token_id} & set(ids[1:-1])
