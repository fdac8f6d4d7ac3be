"""What a checkpoint was trained on: simulated scenes, xBD or other images, and the licence that follows from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset.manifest_schema import Manifest
from data.dataset.open import read_manifest
from data.simulation.events import EVENTS as SIMULATED
from data.sources.events import EVENTS as XBD
from generate.checkpoint import Checkpoint
from models.checkpoint import read_state
from publish.errors import PublishError

OTHER_DATA = "data.dataset"  # in run.resume_allow: the run went on with other data than before
XBD_LICENCE = "cc-by-nc-sa-4.0"
XBD_NOTE = """\
The weights were trained on xBD (Gupta et al. 2019, [arXiv:1911.09296](https://arxiv.org/abs/1911.09296)), imagery by
Maxar, under [CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/). This model is shared under the same
licence: name its source, no commercial use, what is derived from it under this licence too."""
SIMULATED_NOTE = "The weights were trained on simulated scenes, which are nobody's imagery."
OTHER_NOTE = "The licence of the images that the weights were trained on applies to the weights too."
TINY, TINY_NOTE = "tiny", "The base is that of a clone of this project, under Apache-2.0 as well."
BASE_NOTE = (
    "The licence of the base applies as well; that of Stable Diffusion, a CreativeML Open RAIL licence, restricts uses."
)


@dataclass(frozen=True)
class Origin:
    """Of the training data."""

    name: str
    events: tuple[str, ...]  # trained on
    licence: str  # as the hub writes it
    note: str
    simulated: bool  # every scene


def origin_of(checkpoint: Checkpoint, dataset: Path | None, licence: str | None) -> Origin:
    """Read the datasets of the training: of every stage, since one of xBD decides the licence.

    Args:
        checkpoint: that was trained on them.
        dataset: where one is now that is not where the training found it.
        licence: of weights that are not trained on xBD, whose licence follows from that of xBD.

    Raises:
        PublishError: a dataset is not there, the named one is another, the weights were trained on other data before,
            whose place is not recorded, and no licence is named, or it contradicts that of xBD.
    """
    config = read_state(checkpoint.folder).get("config")
    manifests = _manifests(checkpoint, dataset, _recorded(config))
    everything = {event for manifest in manifests for event in manifest["events"]}
    events = tuple(sorted(everything - _not_trained_on(checkpoint, manifests)))
    if any(event in XBD for event in everything):
        if licence not in (None, XBD_LICENCE):
            raise PublishError(f"licence is {licence}, but weights trained on xBD inherit {XBD_LICENCE}. Omit it.")
        return Origin("xBD", events, XBD_LICENCE, XBD_NOTE, simulated=False)
    before = {one for earlier in checkpoint.trained_on.get("earlier", []) for one in earlier["datasets"]}
    known = {manifest["fingerprint"] for manifest in manifests}
    if before - known or OTHER_DATA in _at(config, "run", "resume_allow", []):
        if licence is None:
            raise PublishError(
                f"{checkpoint.folder}: its weights were trained on other data before, whose place it does not record. "
                f"Name the licence with --licence: {XBD_LICENCE} if that was xBD."
            )
        return Origin("several datasets", events, licence, OTHER_NOTE, simulated=False)
    if everything and everything <= {event.name for event in SIMULATED}:
        return Origin("simulated scenes", events, licence or "other", SIMULATED_NOTE, simulated=True)
    return Origin("images of other sources", events, licence or "other", OTHER_NOTE, simulated=False)


def _manifests(checkpoint: Checkpoint, dataset: Path | None, recorded: list[Path]) -> list[Manifest]:
    """One for each dataset that the checkpoint was trained on."""
    prints, found = checkpoint.trained_on["datasets"], {}
    if dataset and not dataset.is_dir():
        raise PublishError(f"dataset is {dataset}, which is not there. Name a built dataset.")
    for folder in [*([dataset] if dataset else []), *(one for one in recorded if one.is_dir())]:
        manifest = read_manifest(folder)
        found[manifest["fingerprint"]] = manifest
        if folder == dataset and manifest["fingerprint"] not in prints:
            raise PublishError(f"{folder}: {checkpoint.folder} was not trained on it. Name its dataset with --dataset.")
    if any(one not in found for one in prints):
        names = ", ".join(map(str, recorded)) or "a dataset whose place it does not record"
        raise PublishError(
            f"{checkpoint.folder}: was trained on {names}, which is not there any more. What it was trained on decides "
            "licence and pictures: name the dataset with --dataset."
        )
    return [found[one] for one in prints]


def _not_trained_on(checkpoint: Checkpoint, manifests: list[Manifest]) -> set[str]:
    """Events that were left out, or lie in other splits."""
    split, found = checkpoint.trained_on["split"], set(checkpoint.trained_on["leave_out"])
    for event, of in (pair for manifest in manifests for pair in manifest["events"].items()):
        splits = of.get("splits") if isinstance(of, dict) else None
        found |= {event} if isinstance(splits, dict) and split not in splits else set()
    return found


def _recorded(config: object) -> list[Path]:
    """Where the training found its datasets, stage by stage."""
    stages = _at(config, "train", "curriculum", [])
    named = [
        _at(config, "data", "dataset", None),
        *(stage.get("dataset") for stage in stages if isinstance(stage, dict)),
    ]
    return [Path(name) for name in named if isinstance(name, str)]


def _at(config: object, group: str, name: str, default: Any) -> Any:  # noqa: ANN401 (a setting as another version wrote it)
    """A setting, if it is of the type of the default, where there is one."""
    part = config.get(group) if isinstance(config, dict) else None
    found = part.get(name) if isinstance(part, dict) else None
    return found if default is None or isinstance(found, type(default)) else default
