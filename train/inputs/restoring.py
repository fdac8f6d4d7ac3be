"""What a network is shown that restores an image: the image itself, at a lower resolution or without a part of it."""

from typing import Any

import numpy as np
from torch import Tensor

from data.examples.holes import Mask, as_image, unknown
from train.inputs.recipe import Recipe
from train.inputs.views import View, mirror
from train.objective import damage_weights

NOT_ASSESSABLE = 255  # in damage masks


def restored(recipe: Recipe, view: View, row: dict[str, Any], hole: Mask | None) -> dict[str, Tensor]:
    """The condition of a view and, with a hole, loss weights.

    What shows no ground is a part of the hole, and no loss counts it: nobody knows what is there.
    """
    found, mask = {}, None
    if hole is not None:
        hidden = unknown(row, view.target, recipe.resolution)
        mask = as_image(hole | hidden)
        known = np.where(hidden, np.uint8(NOT_ASSESSABLE), np.uint8(0))
        weights = damage_weights(mirror(known[..., None], view.mirrored)[0], [1.0], recipe.latent_shape[-1])
        found["loss_weights"] = weights
    shown = recipe.condition.shown(row[view.target], mask, recipe.resolution)
    return {"condition": mirror(shown, view.mirrored), **found}
