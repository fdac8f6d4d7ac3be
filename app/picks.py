"""Patches of a built dataset that can be picked in place of an upload: with their real post image, mask and caption."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.errors import AppError
from app.painting import Mask
from data.dataset.open import open_dataset
from data.examples.condition import condition_of
from generate.checkpoint import Checkpoint
from generate.images.items import Item, patch_items, spread
from generate.inputs import Pixels

PICKS = 24  # patches that are offered, evenly spread over the split


@dataclass(frozen=True)
class Patch:
    """What the page shows of a picked patch."""

    pre: Pixels
    post: Pixels
    mask: Mask | None
    captions: dict[tuple[str, str], str]  # (style, target) -> text


class Picks:
    """Some patches of a split."""

    def __init__(self, dataset: Path | None, split: str) -> None:
        """Open the dataset; None = there is nothing to pick.

        Raises:
            DataError: it is no built dataset, or lacks the split.
        """
        self.dataset, self.split = dataset, split
        self._rows = open_dataset(dataset, split) if dataset else None
        self._positions: dict[str, int] = {}
        if self._rows is not None:
            names, chosen = self._rows.select_columns(["patch_id"]), spread(len(self._rows), PICKS)
            self._positions = {names[position]["patch_id"]: position for position in chosen}

    def names(self) -> list[str]:
        """The patch ids."""
        return list(self._positions)

    def patch(self, name: str) -> Patch:
        """The images of one."""
        row = self._row(name)
        pre, post = (np.asarray(row[role].convert("RGB")) for role in ("pre", "post"))
        mask = None if row["damage_mask"] is None else np.asarray(row["damage_mask"])
        return Patch(pre, post, mask, {(one["style"], one["target"]): one["text"] for one in row["captions"]})

    def files(self, name: str, target: str, folder: Path) -> tuple[Path, Path]:
        """PNG files of the image that is shown to the networks, and of the real one of phase `target`."""
        folder.mkdir(parents=True, exist_ok=True)
        patch = self.patch(name)
        known, wanted = (patch.post, patch.pre) if target == "pre" else (patch.pre, patch.post)
        for role, pixels in (("known", known), ("real", wanted)):
            Image.fromarray(pixels).save(folder / f"{role}.png")
        return folder / "known.png", folder / "real.png"

    def item(self, name: str, trained: Checkpoint, side: int, prompt: str, painted: Mask | None) -> Item:
        """As `pre2post generate` takes it from the split; `painted` replaces the patch's own damage mask."""
        row = self._row(name)
        assert self.dataset
        items = patch_items(self.dataset, self.split, trained, side=side, limit=PICKS, prompt=prompt)
        item = next(item for item in items if item.name == name)
        if painted is None:
            return item
        image, condition = (
            row["post" if trained.direction == "past" else "pre"],
            condition_of(trained.trained, trained.condition),
        )
        return replace(item, read=lambda: condition.shown(image, Image.fromarray(painted), side))

    def _row(self, name: str) -> dict[str, Any]:
        if self._rows is None or name not in self._positions:
            raise AppError(f"there is no patch {name[:100]!r} to pick. Load the page again.")
        row: dict[str, Any] = self._rows[self._positions[name]]
        return row
