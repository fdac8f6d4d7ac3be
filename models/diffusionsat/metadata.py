"""DiffusionSat's seven metadata values of an image in natural units, and their normalisation for the networks.

Source: Khanna et al., "DiffusionSat", ICLR 2024, section 3.1; ranges as in the released models.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# field: (shift, range, lowest, highest); normalised = (natural + shift) / range * 1000. Units: degrees east, degrees
# north, metres per pixel of the delivered pixel, cloud fraction, calendar date.
_FIELDS = {
    "lon": (180.0, 360.0, -180.0, 180.0),
    "lat": (90.0, 180.0, -90.0, 90.0),
    "gsd": (0.0, 1.0, 1e-3, math.inf),  # no upper limit: 10 m pixels are 10000
    "cloud_cover": (0.0, 1.0, 0.0, 1.0),
    "year": (-1980.0, 120.0, 1980.0, 2100.0),
    "month": (0.0, 12.0, 1.0, 12.0),
    "day": (0.0, 31.0, 1.0, 31.0),
}
METADATA_FIELDS = tuple(_FIELDS)
SCALE = 1000.0  # about the range of the timestep, whose sinusoidal projection the values share


class MetadataError(ValueError):
    """Invalid metadata; the message names the field, the value and the fix."""


def natural_metadata(values: "Mapping[str, float | None] | Sequence[float | None]") -> Tensor:
    """Metadata as given by a user, checked.

    Args:
        values: by field name, where an omitted field is unknown; or all seven in the order of METADATA_FIELDS. None and
            NaN are unknown.

    Returns:
        (7,) float64 in natural units, NaN = unknown.

    Raises:
        MetadataError: an unknown field, a wrong number of values, or a value out of range.
    """
    if isinstance(values, Mapping):
        if unknown := set(values) - set(METADATA_FIELDS):
            raise MetadataError(f"metadata has no field {sorted(unknown)[0]!r}. Expected {', '.join(METADATA_FIELDS)}.")
        values = [values.get(field) for field in METADATA_FIELDS]
    if len(values) != len(METADATA_FIELDS):
        raise MetadataError(f"metadata has {len(values)} values. Expected {len(METADATA_FIELDS)}: {METADATA_FIELDS}.")
    numbers = [math.nan if value is None else float(value) for value in values]
    for field, number in zip(METADATA_FIELDS, numbers, strict=True):
        _, _, low, high = _FIELDS[field]
        if not (math.isnan(number) or low <= number <= high) or math.isinf(number):
            raise MetadataError(
                f"metadata field {field} is {number:g}. Expected {low:g} to {high:g} in natural units (degrees, metres "
                "per pixel, cloud fraction, calendar date), neither shifted nor normalised; NaN if unknown."
            )
    return torch.tensor(numbers, dtype=torch.float64)


def normalised_batch(values: Any, rows: int) -> Tensor:  # noqa: ANN401 (the forms are listed)
    """Metadata of a batch as given by a user, checked and normalised.

    Args:
        values: of one image, for all rows; or a list with one entry per row, each of one image, or itself a list of the
            K images of that row; or a tensor (7,), (rows, 7) or (rows, 7, K). An image is a mapping or 7 numbers.
        rows: of the batch.

    Returns:
        (rows, 7) or (rows, 7, K) float32, NaN = unknown: the networks' input.

    Raises:
        MetadataError: as `natural_metadata`, or for another number of rows.
    """
    if isinstance(values, Tensor):
        values = values.movedim(1, -1).tolist() if values.ndim > 1 else values.tolist()
    if _is_image(values):
        return normalise_metadata(natural_metadata(values)).expand(rows, -1)
    if len(values) != rows:
        raise MetadataError(f"metadata has {len(values)} entries for {rows} prompts. Pass one each, or one for all.")
    if all(map(_is_image, values)):
        return normalise_metadata(torch.stack([natural_metadata(image) for image in values]))
    if len({len(row) for row in values}) > 1:
        raise MetadataError("metadata for unequal numbers of conditioning images. Pass equally many for each prompt.")
    natural = torch.stack([torch.stack([natural_metadata(image) for image in row]) for row in values])
    return normalise_metadata(natural).movedim(-1, 1)


def normalise_metadata(natural: Tensor) -> Tensor:
    """The networks' input: every field on a scale of about 0..1000.

    Args:
        natural: (..., 7) in natural units, NaN = unknown. Shifted in its own precision, so float64 loses nothing.

    Returns:
        (..., 7) float32; NaN stays NaN.
    """
    shift, span = _columns(natural)
    return (natural + shift).float() / span.float() * SCALE


def denormalise_metadata(normalised: Tensor) -> Tensor:
    """The inverse of `normalise_metadata`: (..., 7) float in natural units; NaN stays NaN."""
    shift, span = _columns(normalised)
    return normalised / SCALE * span - shift


def _is_image(values: Any) -> bool:  # noqa: ANN401
    return isinstance(values, Mapping) or all(value is None or isinstance(value, float | int) for value in values)


def _columns(like: Tensor) -> tuple[Tensor, Tensor]:
    if like.shape[-1] != len(METADATA_FIELDS) or not like.is_floating_point():
        raise MetadataError(
            f"metadata is {like.dtype} of shape {tuple(like.shape)}. Expected floats, one column for each of "
            f"{', '.join(METADATA_FIELDS)}."
        )
    shift, span, _, _ = zip(*_FIELDS.values(), strict=True)
    return like.new_tensor(shift), like.new_tensor(span)
