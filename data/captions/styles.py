"""Captions made from the labels, in five styles, for the pre and for the post image of a patch.

`diffusionsat`: the sentence DiffusionSat was trained on, word for word. `short`: disaster, severity, counts. `placed`:
the same with where the damage lies and how the buildings are arranged, in varying words; both are at most 77 CLIP
tokens. `long`: everything the labels support, up to 300 tokens. `chunks`: the long one with a line break after every 77
tokens at most, always at the end of a sentence, for trainers that encode the lines one by one.

A text says where things lie; `mirrored` says the same for the mirrored view. docs/captions.md explains every word.
"""

from data.captions.facts import CaptionFacts, CaptionOptions, layout_of
from data.captions.layout import Layout
from data.captions.length import chunks
from data.captions.long import long_sentences
from data.captions.short import first_short_caption, varied_short_caption
from data.captions.words import Phrasing
from data.sources.labels import Phase

CaptionEntry = dict[str, str]

TARGETS: tuple[Phase, Phase] = ("post", "pre")
LONG_VARIANTS = 2


def captions(facts: CaptionFacts, options: CaptionOptions, layout: Layout | None = None) -> list[CaptionEntry]:
    """All captions of a patch, as in the `captions` column.

    Args:
        facts: what may be said.
        options: the user's choices.
        layout: where the text says that things lie; None = where they do.
    """
    layout = layout or layout_of(facts)
    views = (layout, layout.mirrored())
    entries: list[CaptionEntry] = []
    for target in TARGETS:
        text = diffusionsat_caption(facts.event.disaster_type, target)
        entries.append(_entry("diffusionsat", target, text, text))
    for target in TARGETS:
        text = first_short_caption(facts, target, options)
        entries.append(_entry("short", target, text, text))
        phrasing = _phrasing(facts, options, target, 0)
        varied = (varied_short_caption(facts, view, target, options, phrasing) for view in views)
        entries.append(_entry("placed", target, *varied))
    longs = [(target, _long(facts, views, target, options, i)) for target in TARGETS for i in range(LONG_VARIANTS)]
    entries += [_entry("long", target, *(" ".join(text) for text in texts)) for target, texts in longs]
    entries += [_entry("chunks", target, *(chunks(text) for text in texts)) for target, texts in longs]
    return entries


def diffusionsat_caption(disaster_type: str, target: Phase) -> str:
    """DiffusionSat's xBD caption with no part dropped; its grammar is what the released models know."""
    if not disaster_type:
        return "a fmow satellite image"
    when = "before" if target == "pre" else "after"
    return f"a fmow satellite image {when} being affected by a {disaster_type} natural disaster"


def _long(
    facts: CaptionFacts, views: tuple[Layout, Layout], target: Phase, options: CaptionOptions, variant: int
) -> list[list[str]]:
    phrasing = _phrasing(facts, options, target, variant)
    return [long_sentences(facts, view, target, options, phrasing) for view in views]


def _phrasing(facts: CaptionFacts, options: CaptionOptions, target: Phase, variant: int) -> Phrasing:
    return Phrasing(f"{options.seed} {facts.patch_id} {target}", variant)


def _entry(style: str, target: Phase, text: str, mirrored: str) -> CaptionEntry:
    return {"style": style, "target": target, "text": text, "mirrored": mirrored}
