"""The words that maps are asked for, found among the tokens of a prompt.

A word is found where the prompt has exactly its tokens, from the start of a word to the end of one: upper and lower
case are the same to CLIP, another form (`building` and `buildings`) is another word. `major damage` is found where its
words follow each other. What occurs several times is found every time.
"""

import re
from collections.abc import Iterator, Sequence

from transformers import CLIPTokenizer

from generate.errors import GenerateError
from models.text import token_places
from models.tiny_networks import END_OF_WORD

MOST_WORDS = 16
MOST_LETTERS = 60  # a word names a file
SHOWN = 40  # words of prompts in a message


def asked_words(text: str) -> list[str]:
    """The words of `--word-maps`.

    Raises:
        GenerateError: none, too many, or one that is no word.
    """
    words = list(dict.fromkeys(" ".join(word.lower().split()) for word in text.split(",")))
    for word in words:
        if not re.fullmatch(r"[\w-]+( [\w-]+)*", word) or len(word) > MOST_LETTERS:
            raise GenerateError(
                f"word_maps is {text[:80]!r}, of which {word[:80]!r} is no word; expected words of the prompt, "
                f"separated by commas, of letters, digits and hyphens, at most {MOST_LETTERS}: destroyed,major damage."
            )
    if len(words) > MOST_WORDS:
        raise GenerateError(f"word_maps names {len(words)} words; expected at most {MOST_WORDS} at once.")
    return words


def words_of(
    tokenizer: CLIPTokenizer, prompts: Sequence[str], words: Sequence[str], chunks: int
) -> dict[str, list[str]]:
    """Prompt -> those of the words that it has.

    Raises:
        GenerateError: no prompt has a word; the message names the words there are.
    """
    found = {
        prompt: [word for word in words if places_of(tokenizer, prompt, word, chunks)]
        for prompt in dict.fromkeys(prompts)
    }
    for word in words:
        if not any(word in of_prompt for of_prompt in found.values()):
            there = sorted({one for prompt in found for one in _words(tokenizer, prompt, chunks)})
            more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
            raise GenerateError(
                f"word_maps: no prompt has the word {word!r}, in this very form. The words there are: "
                f"{', '.join(there[:SHOWN])}{more}."
            )
    return found


def places_of(tokenizer: CLIPTokenizer, prompt: str, word: str, chunks: int) -> list[int]:
    """Where the tokens of a word stand among the text states of a prompt; empty if it lacks the word."""
    tokens = token_places(tokenizer, prompt, chunks)
    ids = [token for _, token in tokens]
    wanted = tokenizer(word, add_special_tokens=False).input_ids
    starts = [
        start
        for start in range(len(ids) - len(wanted) + 1)
        if ids[start : start + len(wanted)] == wanted and (not start or _ends(tokenizer, ids[start - 1]))
    ]
    return sorted({tokens[i][0] for start in starts for i in range(start, start + len(wanted))})


def _words(tokenizer: CLIPTokenizer, prompt: str, chunks: int) -> Iterator[str]:
    word: list[int] = []
    for _, token in token_places(tokenizer, prompt, chunks):
        word.append(token)
        if _ends(tokenizer, token):
            text = tokenizer.decode(word).strip()
            word = []
            if re.search(r"\w", text):
                yield text


def _ends(tokenizer: CLIPTokenizer, token: int) -> bool:
    """Whether a token is the last of a word."""
    return str(tokenizer.convert_ids_to_tokens(token)).endswith(END_OF_WORD)
