"""Prompts: text files with the facts of the patch in braces, versioned by their hash.

A pre image is shown alone, and its prompt may name neither event nor disaster: a model that knows of one sees its
traces before it came.
"""

import hashlib
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from caption.errors import CaptionError
from data.captions.check import Truth
from data.captions.facts import CaptionOptions, layout_of
from data.captions.long import long_sentences
from data.captions.words import Phrasing
from data.files import read_file
from data.sources.labels import Phase

Target = Literal["pre", "post", "change"]
TARGETS: tuple[Target, ...] = get_args(Target)
IMAGES: dict[Target, tuple[Phase, ...]] = {"pre": ("pre",), "post": ("post",), "change": ("pre", "post")}
_FIELDS = {"pre": {"facts"}, "post": {"facts", "disaster", "place"}, "change": {"facts", "disaster", "place"}}


@dataclass(frozen=True)
class Prompt:
    """A prompt file."""

    name: str  # post-news
    text: str

    @property
    def version(self) -> str:
        """Name and hash, as every caption has it."""
        return f"{self.name}@{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"


def read_prompt(folder: Path, target: Target, style: str) -> Prompt:
    """The prompt of a style for a target: `post-news.txt`.

    Raises:
        CaptionError: there is none, or it has a field that is not known, or not for a pre image.
    """
    path = folder / f"{target}-{style}.txt"
    if not path.is_file():
        known = sorted(file.stem.removeprefix(f"{target}-") for file in folder.glob(f"{target}-*.txt"))
        raise CaptionError(f"{path}: no such prompt. For {target} there is {', '.join(known) or 'none'}.")
    text = read_file(path, "prompt").decode("utf-8").strip()
    return Prompt(path.stem, check_fields(text, str(path), _FIELDS[target]))


def check_fields(text: str, where: str, known: set[str]) -> str:
    """The text, if it has no other field in braces."""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise CaptionError(f"{where}: {error}. Write a brace that is meant as {{{{ or }}}}.") from None
    if others := fields - known:
        raise CaptionError(f"{where}: no field {{{others.pop()}}} here; known are {', '.join(sorted(known))}.")
    return text


def rendered(prompt: Prompt, target: Target, truth: Truth) -> str:
    """The prompt with the facts of a patch."""
    event = truth.facts.event
    if target == "pre":
        return prompt.text.format(facts=facts_of(target, truth))
    return prompt.text.format(facts=facts_of(target, truth), disaster=event.effect, place=event.place or "a place")


def facts_of(target: Target, truth: Truth) -> str:
    """What the labels say, in the sentences of a `long` caption; of a pre image, nothing that names the event."""
    facts, phase = truth.facts, IMAGES[target][-1]
    options = CaptionOptions()
    if truth.counts:
        options = CaptionOptions(moderate_from=truth.counts.moderate_from, severe_from=truth.counts.severe_from)
    _, *sentences = long_sentences(facts, layout_of(facts), phase, options, Phrasing(facts.patch_id, 0))
    return " ".join(sentences) or "none is known."
