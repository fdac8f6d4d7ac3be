"""What is to be captioned: a patch, the image or images that the model is shown, and the prompt."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caption.errors import CaptionError
from caption.options import Writer
from caption.patches import Patch, patches_of
from caption.prompt import IMAGES, TARGETS, Prompt, Target, read_prompt, rendered
from data.strict_json import as_json


@dataclass(frozen=True)
class Job:
    """A caption to be made."""

    patch: Patch
    target: Target
    style: str
    prompt: Prompt
    text: str  # of the prompt, with the facts of the patch
    key: str  # stands for all that the caption depends on

    @property
    def images(self) -> list[Any]:
        """What the model is shown."""
        return [self.patch.image(phase) for phase in IMAGES[self.target]]

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.patch.id} ({self.target})"

    @property
    def entry(self) -> dict[str, str]:
        """Its fields in a file of captions but for the text; of a change, the caption is one of the post image."""
        change = self.target == "change"
        style, target = (f"change-{self.style}", "post") if change else (self.style, self.target)
        return {"patch_id": self.patch.id, "style": style, "target": target}


def jobs_of(
    dataset: Path, split: str, limit: int | None, targets: str, style: str, folder: Path, writer: Writer, revision: str
) -> list[Job]:
    """All captions to be made, in the dataset's order, those of a patch together.

    Args:
        dataset: a built one.
        split: of it; all if empty.
        limit: patches, evenly spread; None = all.
        targets: one or several, separated by commas.
        style: of the prompts.
        folder: with the prompts.
        writer: makes them.
        revision: of its model, as the hub names it.
    """
    prompts = [(target, read_prompt(folder, target, style)) for target in parsed_targets(targets)]
    found = []
    for patch in spread(list(patches_of(dataset, split)), limit):
        for target, prompt in prompts:
            text = rendered(prompt, target, patch.truth)
            shown = [patch.sha256[phase] for phase in IMAGES[target]]
            key = key_of(shown, prompt.version, text, writer.described(revision))
            found.append(Job(patch, target, style, prompt, text, key))
    return found


def parsed_targets(text: str) -> list[Target]:
    """The names in a list like `pre,post`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or set(names) - set(TARGETS):
        raise CaptionError(f"--target is {text!r}; expected any of {', '.join(TARGETS)}, separated by commas.")
    return [target for target in TARGETS if target in names]


def spread(patches: Sequence[Patch], limit: int | None) -> list[Patch]:
    """At most so many patches, evenly over all."""
    if limit is None or limit >= len(patches):
        return list(patches)
    if limit < 1:
        raise CaptionError(f"--limit is {limit}; it must be at least 1.")
    return [patches[i * len(patches) // limit] for i in range(limit)]


def key_of(*parts: Any) -> str:  # noqa: ANN401  # whatever JSON can say
    """A hash of all parts."""
    return hashlib.sha256(as_json(parts, None).encode()).hexdigest()[:32]
