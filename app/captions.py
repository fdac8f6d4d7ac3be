"""Controls of the page -> a caption in the words that the builder uses, in the style of the training."""

from app.models import Model
from data.captions.facts import CaptionOptions
from data.captions.imagined import imagined
from data.captions.styles import captions


def caption_of(model: Model, event: str, disaster: str, severity: str, position: str, buildings: float | None) -> str:
    """The caption of the image that is made; parts that the style has no words for are left out.

    Args:
        model: its training's caption style is used, or `short` if that is a user's own.
        event: one of EVENTS, or "".
        disaster: its type, or "".
        severity: one of SEVERITIES, or "".
        position: one of POSITIONS, or "".
        buildings: how many; None = not said.
    """
    number = None if buildings is None else max(0, int(buildings))
    facts, layout = imagined(event, disaster, severity, position, number)
    texts: dict[str, str] = {}
    for entry in captions(facts, CaptionOptions(), layout):
        if entry["target"] == model.target:
            texts.setdefault(entry["style"], entry["text"])
    return texts.get(model.trained.caption_style, texts["short"])
