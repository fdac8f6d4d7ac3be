"""The patches of a built dataset with what their labels say, in the dataset's order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from data.captions.check import Truth, truth_of_row
from data.captions.severity import MODERATE_FROM, SEVERE_FROM
from data.dataset.manifest_schema import DESCRIBED
from data.dataset.open import described, open_dataset

READ = "patch_id scene_id event disaster_type labels size pixel_size_m buildings pre_sha256 post_sha256".split()


@dataclass(frozen=True)
class Patch:
    """A patch, its labels and where its images are."""

    id: str
    scene_id: str
    truth: Truth
    sha256: dict[str, str]  # of its images, by phase
    rows: datasets.Dataset  # of its split
    position: int  # among them

    def image(self, phase: str) -> Any:  # noqa: ANN401  # a picture of Pillow
        """The `pre` or `post` image."""
        return self.rows[self.position][phase]


def patches_of(folder: Path, split: str = "") -> Iterator[Patch]:
    """All patches of a split, or of all splits if none is named."""
    manifest = described(folder, DESCRIBED)
    build = manifest["build"]
    limits = build.get("moderate_from", MODERATE_FROM), build.get("severe_from", SEVERE_FROM)
    for name in [split] if split else manifest["splits"]:
        dataset = open_dataset(folder, name)
        images = dataset.select_columns(["pre", "post"])
        for position, row in enumerate(dataset.select_columns(READ)):
            shas = {phase: row[f"{phase}_sha256"] for phase in ("pre", "post")}
            yield Patch(row["patch_id"], row["scene_id"], truth_of_row(row, *limits), shas, images, position)
