"""Files of others: one message or the right content, whatever the damage."""

import json
import resource
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from data.documents import MAX_BYTES, MOST_PARTS, parse_document, read_document
from data.errors import DataError


class Card(TypedDict):
    name: str
    width: Annotated[int, Field(gt=0, le=4096)]
    scores: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


CARD = TypeAdapter(Card)
GOOD = {"name": "a", "width": 8, "scores": {"f1": 0.5}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_good_file_is_its_content(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(GOOD))
    assert read_document(path, CARD, "Copy it again.") == GOOD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "the file is \\[\\]: input should be an object"),
        (b'{"name": "a", "width": 0, "scores": {}}', "width is 0: input should be greater than 0"),
        (b'{"name": "a", "width": Infinity, "scores": {}}', "width is inf: input should be a valid integer"),
        (b'{"name": "a", "width": 8, "scores": {"f1": NaN}}', "scores.f1 is nan: input should be a finite number"),
        (b'{"name": "a", "width": "8", "scores": {}}', "width is '8': input should be a valid integer"),
        (b'{"name": "a", "scores": {}}', "card.json: width is missing"),
    ],
)
def test_damage_is_one_message(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_document(path, CARD, "Copy it again.")
    message = str(caught.value)
    assert str(path) in message and message.endswith("Copy it again.") and len(message) < 400 and "\n" not in message


def test_a_mark_at_the_start_is_no_content(tmp_path: Path) -> None:
    """As Windows editors write it."""
    path = tmp_path / "card.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert read_document(path, CARD, "Copy it again.") == GOOD
    assert parse_document(path.read_text(), "there", CARD, "Copy it again.") == GOOD


def test_thousands_of_faults_are_one_message_at_once() -> None:
    scores = ", ".join(f'"{i}": ""' for i in range(10_000))
    with pytest.raises(DataError, match="there: 10,000 values in it are invalid"):
        parse_document('{"name": "a", "width": 8, "scores": {' + scores + "}}", "there", CARD, "Copy it again.")


def test_a_field_with_a_monstrous_name() -> None:
    for name in ("x" * 100_000, "a\nb"):
        with pytest.raises(DataError) as caught:
            parse_document(json.dumps(GOOD | {"scores": {name: ""}}), "there", CARD, "Copy it again.")
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_document(tmp_path, CARD, "Copy it again.")
    (tmp_path / "sparse.json").touch()
    with (tmp_path / "sparse.json").open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DataError, match="bytes, expected at most"):
        read_document(tmp_path / "sparse.json", CARD, "Copy it again.")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=JSON | st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_any_json_is_refused_or_right(content: Any) -> None:
    try:
        found = parse_document(json.dumps(content), "there", CARD, "Copy it again.")
    except DataError as error:
        assert str(error).startswith("there: ") and "\n" not in str(error)
    else:
        assert isinstance(found["width"], int) and 0 < found["width"] <= 4096


@given(content=st.binary())
def test_any_bytes_are_refused_or_right(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_document(content, "there", CARD, "Copy it again.")


def test_a_file_of_nothing_but_brackets_takes_little_memory(tmp_path: Path) -> None:
    """Parsed, each pair would take sixty times its two bytes."""
    path = tmp_path / "card.json"
    path.write_bytes(b'{"name": [' + b"[]," * (MOST_PARTS + 1) + b"[]]}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="lists and objects, expected at most"):
        read_document(path, CARD, "Copy it again.")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
