"""Options of `pre2post caption`; here, `--help` has them without torch."""

from dataclasses import dataclass
from pathlib import Path

from caption.errors import CaptionError

PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Which model writes the captions, and how."""

    model: str = ""
    """A vision-language model of transformers: a folder or a hub id. With a server, the name that it knows it by."""
    server: str = ""
    """The address of a server that speaks the OpenAI chat protocol, such as http://localhost:8000/v1, for models that
    transformers does not have. Its key, if it wants one, is taken from OPENAI_API_KEY."""
    revision: str = "main"
    """Of a model of the hub: a branch, tag or commit. A commit is the same for ever."""
    batch_size: int = 8
    """Captions at once; halved when the memory does not suffice."""
    concurrency: int = 8
    """Requests at once to a server."""
    max_new_tokens: int = 256
    """The longest caption, in tokens of the model. One that is cut there loses its unfinished sentence."""
    temperature: float = 0.0
    """0 is greedy: a rerun gives the same captions."""
    seed: int = 0
    """Of a temperature above 0."""

    def described(self, revision: str) -> list[str | float]:
        """What decides a text beside its prompt; `revision` as the hub names it."""
        seed = self.seed * (self.temperature > 0)
        return [self.model, revision, self.max_new_tokens, self.temperature, seed]

    def __post_init__(self) -> None:
        """Stop on numbers that make no sense."""
        for name in ("batch_size", "concurrency", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise CaptionError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1.")
        if self.temperature < 0:
            raise CaptionError(f"--temperature is {self.temperature}; it must be 0 (greedy) or more.")


@dataclass(frozen=True, kw_only=True)
class Shortening:
    """How captions come to fit the text encoder of a base."""

    shorten: str = ""
    """What shortens captions that are too long: a seq2seq model of transformers, such as google/flan-t5-large, or
    `same`, the model that wrote them. What is still too long is cut after a sentence, and counted."""
    base: str = "tiny"
    """The base whose tokenizer counts: a diffusers folder, a hub id, or `tiny`."""
    max_tokens: int = 0
    """Of that tokenizer, start and end included; 0 = as many as its text encoder reads."""
    chunks: bool = False
    """Also write every caption, unshortened, in lines of whole sentences that a text encoder reads one by one, as the
    style NAME-chunks."""


NONE, AS_LONG_AS_IT_IS = Writer(), Shortening()
