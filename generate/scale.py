"""How much ground a pixel of the network shows: as much as in the training, unless the user says otherwise."""

from collections.abc import Iterable

from generate.checkpoint import Checkpoint
from generate.errors import GenerateError
from generate.processes import everyone


def window_at(trained: Checkpoint, side: int) -> int:
    """Pixels of a whole image that fill a network's input of `side` px at the ground scale of the training.

    Raises:
        GenerateError: the training's scale is not a whole factor.
    """
    if trained.patch_px is None:
        _note(
            f"{trained.folder} does not say at what size its patches were built. They are taken to have been shown as "
            f"built: {side} px of an image fill the network's input. Otherwise say --window."
        )
        return side
    window, rest = divmod(side * trained.patch_px, trained.resolution)
    if rest or window % side:
        factor = trained.resolution / trained.patch_px
        raise GenerateError(
            f"{trained.folder}: trained on patches of {trained.patch_px} px shown at {trained.resolution} px, but "
            f"whole images are reduced by whole factors only. Resize the image to {factor:.4g} times its width and "
            f"height and say --window {side}."
        )
    return window


def note_scale(trained: Checkpoint, side: int, sizes: Iterable[int]) -> None:
    """Say so if the patches of a dataset, of some sizes in px, are shown at another scale than in the training."""
    for size in sorted(set(sizes)):
        if trained.patch_px and size * trained.resolution != trained.patch_px * side:
            _note(
                f"patches of {size} px are shown at {side} px, but {trained.folder} was trained on patches of "
                f"{trained.patch_px} px shown at {trained.resolution} px: the ground is at another scale."
            )


def _note(text: str) -> None:
    if everyone().is_main:
        print(f"note: {text}")
