"""What a checkpoint was trained on: simulated scenes, xBD or other images, and the licence that follows from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset.open import read_manifest
from data.simulation.events import EVENTS as SIMULATED
from data.sources.events import EVENTS as XBD
from generate.checkpoint import Checkpoint
from models.checkpoint import read_state
from publish.errors import PublishError

XBD_LICENCE = "cc-by-nc-sa-4.0"
XBD_NOTE = """\
The weights were trained on xBD (Gupta et al. 2019, [arXiv:1911.09296](https://arxiv.org/abs/1911.09296)), imagery by
Maxar, under [CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/). This model is shared under the same
licence: name its source, no commercial use, what is derived from it under this licence too."""
SIMULATED_NOTE = "The weights were trained on simulated scenes, which are nobody's imagery."
OTHER_NOTE = "The licence of the images that the weights were trained on applies to the weights too."
BASE_NOTE = (
    "The licence of the base applies as well; that of Stable Diffusion, a CreativeML Open RAIL licence, restricts uses."
)


@dataclass(frozen=True)
class Origin:
    """Of the training data."""

    name: str  # of the release or manifest that the dataset was built from
    events: tuple[str, ...]
    licence: str  # as the hub writes it
    note: str
    simulated: bool  # every scene


def origin_of(checkpoint: Checkpoint, dataset: Path | None, licence: str | None) -> Origin:
    """Read the dataset of the training.

    Args:
        checkpoint: that was trained on it.
        dataset: where it is now; None = where the training found it.
        licence: of weights that are not trained on xBD, whose licence follows from that of xBD.

    Raises:
        PublishError: the dataset is not there, is another one, or the licence contradicts that of xBD.
    """
    folder = dataset or _recorded(checkpoint)
    if not folder.is_dir():
        raise PublishError(
            f"{checkpoint.folder}: was trained on {folder}, which is not there. What it was trained on decides licence "
            "and pictures: name the dataset with --dataset."
        )
    manifest = read_manifest(folder)
    if manifest["fingerprint"] not in checkpoint.trained_on["datasets"]:
        raise PublishError(f"{folder}: {checkpoint.folder} was not trained on it. Name its dataset with --dataset.")
    events, source = tuple(sorted(manifest["events"])), str(manifest.get("build", {}).get("source", folder.name))  # type: ignore[attr-defined]
    if any(event in XBD for event in events):
        if licence not in (None, XBD_LICENCE):
            raise PublishError(f"licence is {licence}, but weights trained on xBD inherit {XBD_LICENCE}. Omit it.")
        return Origin("xBD", events, XBD_LICENCE, XBD_NOTE, simulated=False)
    if events and set(events) <= {event.name for event in SIMULATED}:
        return Origin("simulated scenes", events, licence or "other", SIMULATED_NOTE, simulated=True)
    return Origin(source, events, licence or "other", OTHER_NOTE, simulated=False)


def _recorded(checkpoint: Checkpoint) -> Path:
    data: Any = read_state(checkpoint.folder).get("config", {}).get("data", {})
    found = data.get("dataset") if isinstance(data, dict) else None
    if not isinstance(found, str):
        raise PublishError(f"{checkpoint.folder}: does not record its dataset. Name it with --dataset.")
    return Path(found)
