"""Captions that fit a base's text encoder: shortened by a model, cut at a sentence where that does not suffice."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from caption.errors import CaptionError
from caption.jobs import key_of
from caption.model import Answer, ended, generated, own_device
from caption.options import PROMPTS, Shortening, Writer
from models.base import load_base

WORDS_PER_TOKEN = 0.7  # of English prose in CLIP's tokens; what a chat model is asked for
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Long:
    """A caption that is too long, as a task for a model."""

    name: str  # for messages
    text: str  # of the prompt
    key: str
    images: tuple[Any, ...] = ()


class Length:
    """How long a text is for a base, by its own tokenizer."""

    def __init__(self, shortening: Shortening) -> None:
        """Open the tokenizer."""
        tokenizer = load_base(shortening.base).load_tokenizer()
        self.most = shortening.max_tokens or tokenizer.model_max_length
        self._tokens: Callable[[str], int] = lambda text: len(tokenizer(text).input_ids)

    def fits(self, text: str) -> bool:
        """Start and end tokens included."""
        return self._tokens(text) <= self.most

    def cut(self, text: str) -> str:
        """As many whole sentences as fit; of a first one that does not, as many words."""
        for parts in (_SENTENCES.split(text), text.split()):
            while parts and not self.fits(" ".join(parts)):
                parts.pop()
            if parts:
                return " ".join(parts)
        raise CaptionError(f"--max-tokens is {self.most}: no word fits. Allow more.")


def sentences(text: str) -> list[str]:
    """A text in its sentences."""
    return _SENTENCES.split(text)


class Shortener:
    """A seq2seq model such as T5."""

    def __init__(self, name: str, writer: Writer) -> None:
        """Load it."""
        self.writer, self.device = writer, own_device()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            model: Any = AutoModelForSeq2SeqLM.from_pretrained(name)
        except Exception as error:  # whatever the hub, a config or a file leads to
            raise CaptionError(
                f"{name}: no seq2seq model that transformers can load ({str(error).splitlines()[0]}). Name one such as "
                "google/flan-t5-large, or `same` for the model that wrote the captions."
            ) from error
        self.model = model.to(self.device).eval()

    def __call__(self, batch: Sequence[Long]) -> list[Answer]:
        """One text for every prompt."""
        inputs = self.tokenizer([one.text for one in batch], padding=True, truncation=True, return_tensors="pt")
        inputs = {name: inputs[name].to(self.device) for name in ("input_ids", "attention_mask")}
        new: torch.Tensor = generated(self.model, inputs, self.writer)
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return list(zip(texts, ended(new[:, 1:], self.model), strict=True))  # the first may be the token that ends


def too_long(text: str, shortening: Shortening, length: Length, made_by: Sequence[Any]) -> Long:
    """What a model is asked to shorten."""
    name = "shorten.txt" if shortening.shorten == "same" else "shorten-seq2seq.txt"
    prompt = (PROMPTS / name).read_text(encoding="utf-8").strip()
    asked = prompt.format(text=text, words=int(WORDS_PER_TOKEN * length.most))
    return Long(f"the shorter form of {text[:40]!r}", asked, key_of(asked, shortening.shorten, *made_by))


def fitted(text: str, short: str, length: Length) -> tuple[str, bool]:
    """The shorter form of a text that fits, and whether it had to be cut."""
    short = with_capitals(short, text) if re.search(r"\w", short) else text
    return (short, False) if length.fits(short) else (length.cut(short), True)


def with_capitals(short: str, source: str) -> str:
    """Names and the beginnings of sentences as in the caption it was made of: some models write in lower case."""
    inside = re.sub(r"(^|[.!?]\s+)\w+", "", source)
    names = {word.lower(): word for word in _WORD.findall(inside) if word != word.lower()}
    text = _WORD.sub(lambda found: names.get(found[0], found[0]), short)
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda found: found[1] + found[2].upper(), text)
