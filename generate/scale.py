"""Ground coverage of a network pixel: as in training, unless the user sets it."""

from collections.abc import Iterable

from data.imagery.geo import SAME_SIZE
from generate.checkpoint import Checkpoint
from generate.errors import GenerateError
from generate.images.read import ImageHeader
from generate.processes import everyone


def window_at(trained: Checkpoint, side: int) -> int:
    """Window of a whole image, in px, that fills a network's input of `side` px at the scale of the training.

    Raises:
        GenerateError: the training's scale is not a whole factor.
    """
    if trained.patch_px is None:
        _note(
            f"{trained.folder} does not record the size of its training patches. Assuming they were used as "
            f"built: {side} px of an image fill the network's input. Otherwise set --window."
        )
        return side
    window, rest = divmod(side * trained.patch_px, trained.resolution)
    if rest or window % side:
        factor = trained.resolution / trained.patch_px
        raise GenerateError(
            f"{trained.folder}: trained on patches of {trained.patch_px} px resized to {trained.resolution} px, but "
            f"whole images are reduced by whole factors only. Resize the image to {factor:.4g} times its width and "
            f"height and set --window {side}."
        )
    return window


def note_scale(trained: Checkpoint, side: int, sizes: Iterable[int]) -> None:
    """Print a note if the patches of a dataset, of some sizes in px, have another scale than in training."""
    for size in sorted(set(sizes)):
        if trained.patch_px and size * trained.resolution != trained.patch_px * side:
            _note(
                f"patches of {size} px are resized to {side} px, but {trained.folder} was trained on patches of "
                f"{trained.patch_px} px resized to {trained.resolution} px: the ground scale differs."
            )


def note_small(trained: Checkpoint, image: ImageHeader, window: int) -> None:
    """Print a note if an image is smaller than the window: perhaps it is a patch that was reduced already."""
    if max(image.width, image.height) < window:
        _note(
            f"{image.path} is {image.width} x {image.height} px, less than the {window} px of a patch that "
            f"{trained.folder} was trained on. That is right if its pixels are as large on the ground as theirs; for "
            f"a whole patch that was reduced to {trained.resolution} px, pass --window {trained.resolution}."
        )


def note_ground(trained: Checkpoint, side: int, image: ImageHeader, window: int) -> None:
    """Print a note if both ground sizes are known, and a network pixel covers another ground than in training."""
    if trained.gsd_m is None or image.pixel_size_m is None:
        return
    factor = trained.gsd_m / image.pixel_size_m  # image pixels that belong into one of the network
    if 1 / SAME_SIZE <= factor * side / window <= SAME_SIZE:
        return
    whole = max(1, round(factor))
    fix = (
        f"Set --window {whole * side}"
        if 1 / SAME_SIZE <= whole / factor <= SAME_SIZE
        else f"Resample the image to pixels of {trained.gsd_m:.3g} m and set --window {side}"
    )
    _note(
        f"{image.path}: a pixel covers {image.pixel_size_m:.3g} m, so one of the network covers "
        f"{image.pixel_size_m * window / side:.3g} m, in training it was {trained.gsd_m:.3g} m. {fix}."
    )


def _note(text: str) -> None:
    if everyone().is_main:
        print(f"note: {text}")
