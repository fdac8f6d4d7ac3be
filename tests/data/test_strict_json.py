"""Files that every reader of JSON can read."""

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from hypothesis import given
from hypothesis import strategies as st

from data.strict_json import as_json

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def refuse(word: str) -> NoReturn:
    raise AssertionError(f"{word} is no JSON")


@given(ANYTHING)
def test_what_is_no_number_is_null_and_all_else_stays(content: Any) -> None:
    """The standard library's own word for each is the witness: `NaN`, `Infinity`, `-Infinity`."""
    expected = json.loads(json.dumps(content), parse_constant=lambda word: None)
    for indent in (None, 1):
        assert json.loads(as_json(content, indent), parse_constant=refuse) == expected


def test_dataclasses_are_objects_and_a_line_is_one_line() -> None:
    @dataclass
    class Estimate:
        value: float
        low: float

    assert as_json({"is": [Estimate(1.5, -math.inf)]}, None) == '{"is": [{"value": 1.5, "low": null}]}\n'
