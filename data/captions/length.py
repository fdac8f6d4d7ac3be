"""How long a caption is in CLIP tokens, and how captions are made to fit.

The builder has no tokenizer, so it estimates from above: two tokens mark start and end; every punctuation mark and
every digit is one (as in CLIP); a word is one for every six letters or part of six. On English prose the estimate is 5
to 33 % above the true count and never below it (tests/data/captions/test_length.py holds it against the real
tokenizer).
"""

import re
from collections.abc import Sequence
from functools import lru_cache

CLIP_TOKENS = 77  # what a CLIP text encoder reads, start and end included
LONG_TOKENS = 300  # of a `long` caption
LETTERS_PER_TOKEN = 6

_PIECES = re.compile(r"[^\W\d_]+|[^\s]")


def estimated_tokens(text: str) -> int:
    """CLIP tokens of a text, start and end included; an overestimate rather than an underestimate."""
    return 2 + sum(map(_word_tokens, text.split()))


def shortened(start: str, clauses: Sequence[str], limit: int = CLIP_TOKENS) -> str:
    """`start` and as many clauses as fit, in their order; the last are dropped first."""
    kept = list(clauses)
    while kept and estimated_tokens("".join([start, *kept])) > limit:
        kept.pop()
    return "".join([start, *kept])


def most_important(sentences: Sequence[tuple[int, str]], limit: int = LONG_TOKENS) -> list[str]:
    """Sentences in their order, each with its rank; those of the largest rank are left out until the rest fit."""
    kept = list(sentences)
    while len(kept) > 1 and estimated_tokens(" ".join(text for _, text in kept)) > limit:
        kept.remove(max(kept, key=lambda sentence: sentence[0]))
    return [text for _, text in kept]


def chunks(sentences: Sequence[str], limit: int = CLIP_TOKENS) -> str:
    """Sentences packed into parts that fit a text encoder, one part per line."""
    parts: list[str] = []
    for sentence in sentences:
        if parts and estimated_tokens(f"{parts[-1]} {sentence}") <= limit:
            parts[-1] += f" {sentence}"
        else:
            parts.append(sentence)
    return "\n".join(parts)


@lru_cache(maxsize=10_000)  # captions repeat the same words
def _word_tokens(word: str) -> int:
    return sum(_piece_tokens(piece) for piece in _PIECES.findall(word))


def _piece_tokens(piece: str) -> int:
    if not piece.isascii():
        return len(piece.encode())  # a byte a token at worst
    return -(-len(piece) // LETTERS_PER_TOKEN)
