"""Metadata in natural units, checked, normalised as DiffusionSat does, and back."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.diffusionsat.metadata import (
    METADATA_FIELDS,
    MetadataError,
    denormalise_metadata,
    natural_metadata,
    normalise_metadata,
)
from tests.models.parity import read_json

# The original code takes numbers that its callers have shifted already.
SHIFT = torch.tensor([180, 90, 0, 0, -1980, 0, 0], dtype=torch.float64)
HARVEY = {"lon": -95.5, "lat": 30.25, "gsd": 0.5, "cloud_cover": 0.0, "year": 2017, "month": 9, "day": 1}


@pytest.mark.parametrize("row", read_json("metadata/normalize.json")["rows"])
def test_the_original_table(row: dict[str, Any]) -> None:
    natural = torch.tensor(row["raw"], dtype=torch.float64) - SHIFT
    normalised = normalise_metadata(natural)
    assert normalised.dtype == torch.float32
    assert normalised.tolist() == row["normalized_from_float32_tensor"]
    assert torch.allclose(normalised, torch.tensor(row["normalized_from_python_list"]), rtol=2e-7, atol=0)
    back = denormalise_metadata(normalised.double()) + SHIFT
    assert torch.allclose(back, torch.tensor(row["unnormalized"], dtype=torch.float64), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("row", read_json("metadata/xbd_numerical.json")["rows"])
def test_the_original_xbd_rows(row: dict[str, Any]) -> None:
    """Normalised in float64 there, in float32 here."""
    natural = torch.tensor(row["raw"], dtype=torch.float64) - SHIFT
    assert torch.allclose(normalise_metadata(natural), torch.tensor(row["normalized"]), rtol=3e-7, atol=0)


def test_by_hand() -> None:
    normalised = normalise_metadata(natural_metadata(HARVEY))
    expected = [84.5 / 0.36, 120.25 / 0.18, 500.0, 0.0, 37_000 / 120, 750.0, 1000 / 31]
    assert normalised.tolist() == pytest.approx(expected, rel=1e-6)


@given(
    st.lists(st.floats(-170, 170), min_size=7, max_size=7),
    st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_there_and_back(values: list[float], known: list[bool]) -> None:
    natural = torch.tensor([v if k else math.nan for v, k in zip(values, known, strict=True)], dtype=torch.float64)
    back = denormalise_metadata(normalise_metadata(natural))
    assert torch.equal(back.isnan(), natural.isnan())
    assert torch.allclose(back.double(), natural, rtol=1e-5, atol=2e-3, equal_nan=True)


def test_unknown_is_nan_and_stays_it() -> None:
    partly = natural_metadata({"gsd": 0.5, "year": None})
    assert partly.isnan().tolist() == [field != "gsd" for field in METADATA_FIELDS]
    assert normalise_metadata(partly).isnan().tolist() == partly.isnan().tolist()


@pytest.mark.parametrize(
    ("field", "value"),
    [("lon", 264.5), ("lat", 120.25), ("year", 37), ("year", 308.3), ("gsd", 0.0), ("cloud_cover", 17), ("month", 0)],
)
def test_shifted_or_normalised_numbers_are_refused(field: str, value: float) -> None:
    """The original normalisation takes whatever it is given: the year 2015 became 16792 in its authors' notebook."""
    with pytest.raises(MetadataError, match=rf"field {field} is {value:g}.*natural units"):
        natural_metadata(HARVEY | {field: value})


def test_misspelt_and_missing() -> None:
    with pytest.raises(MetadataError, match=r"no field 'latitude'. Expected lon, lat"):
        natural_metadata({"latitude": 3.0})
    with pytest.raises(MetadataError, match=r"has 5 values. Expected 7"):
        natural_metadata([1, 2, 3, 4, 5])
    with pytest.raises(MetadataError, match=r"torch.int64 of shape \(7,\). Expected floats"):
        normalise_metadata(torch.zeros(7, dtype=torch.int64))
