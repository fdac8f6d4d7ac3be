"""Which tokens of a prompt belong to a word."""

from typing import Any

import pytest
from transformers import CLIPTokenizer

from generate.errors import GenerateError
from generate.words.asked import MOST_WORDS, asked_words, places_of, words_of
from models.text import tokenize
from models.tiny_networks import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    """One that has learned `flood` and `house` as one token each and spells most others."""
    return tiny_tokenizer(["flood flood flood flood house house house"], vocabulary=522)


def test_places_are_those_of_the_text_states(tokenizer: CLIPTokenizer) -> None:
    """Each place holds the word's token in what the text encoder is given."""
    prompt = "A FLOOD, a house\nno flood"
    places = places_of(tokenizer, prompt, "flood", chunks=2)
    ids = tokenize(tokenizer, [prompt], 2).flatten()
    (flood,) = tokenizer("flood", add_special_tokens=False).input_ids
    assert places == [2, 77 + 3] and {int(ids[place]) for place in places} == {flood}


def test_a_word_of_several_tokens_and_several_words(tokenizer: CLIPTokenizer) -> None:
    """All tokens of each; a phrase is found where its words follow each other."""
    letters = len(tokenizer("ruin", add_special_tokens=False).input_ids)
    assert letters > 1
    assert places_of(tokenizer, "flood ruin flood", "ruin", 1) == list(range(2, 2 + letters))
    assert places_of(tokenizer, "flood house house flood house", "flood house", 1) == [1, 2, 4, 5]


@pytest.mark.parametrize("word", ["houses", "hous", "ouse", "use", "boat", "house flood"])
def test_parts_and_other_forms_are_not_the_word(tokenizer: CLIPTokenizer, word: str) -> None:
    """Whole words only, in their very form."""
    assert places_of(tokenizer, "flood house, boathouse", word, 1) == []


def test_a_word_that_a_piece_cuts_is_found_whole(tokenizer: CLIPTokenizer) -> None:
    """The 75 tokens of a piece end within it."""
    letters = len(tokenizer("ruin", add_special_tokens=False).input_ids)
    prompt = " ".join(["flood"] * 74 + ["ruin"])
    assert places_of(tokenizer, prompt, "ruin", 2) == [75, *range(78, 78 + letters - 1)]
    assert places_of(tokenizer, prompt, "ruin", 1) == []  # its end is not read


def test_prompts_and_their_words(tokenizer: CLIPTokenizer) -> None:
    """Of two captions one may lack a word."""
    found = words_of(tokenizer, ["a flood", "a house", "a flood"], ["flood", "house"], 1)
    assert found == {"a flood": ["flood"], "a house": ["house"]}


def test_a_word_that_no_prompt_has(tokenizer: CLIPTokenizer) -> None:
    """The message names those there are, each once, without punctuation."""
    with pytest.raises(GenerateError, match=r"has the word 'fires', in this very form.*are: a, after, flood, house\."):
        words_of(tokenizer, ["A flood, a house", "after a flood"], ["flood", "fires"], 1)


def test_words_as_they_are_asked_for() -> None:
    """Once each, in lower case."""
    assert asked_words(" Flood, major  damage,flood,north-east") == ["flood", "major damage", "north-east"]


@pytest.mark.parametrize("text", ["", ",", "flood,", "a/b", "..", "x" * 61, "flood\x00", None])
def test_no_words(text: Any) -> None:
    """One message, before anything is loaded."""
    text = ",".join(f"w{i}" for i in range(MOST_WORDS + 1)) if text is None else text
    with pytest.raises(GenerateError, match=r"^word_maps (is|names)"):
        asked_words(text)
