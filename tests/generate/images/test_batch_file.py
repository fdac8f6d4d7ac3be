"""Batch files: what they say, and what is said of those that do not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate.errors import GenerateError
from generate.images.batch_file import read_batch_file


def test_json_and_jsonl_say_the_same(tmp_path: Path) -> None:
    """Paths are relative to the file; prompt and name have defaults; empty lines do not count."""
    entries = [{"pre": "tiles/a.png", "prompt": "a flood"}, {"pre": "/b.png", "name": "second"}]
    (tmp_path / "x.json").write_text(json.dumps(entries))
    (tmp_path / "x.jsonl").write_text("\n\n".join(json.dumps(entry) for entry in entries))
    expected = [(tmp_path / "tiles/a.png", "a", "a flood"), (Path("/b.png"), "second", "a fire")]
    assert read_batch_file(tmp_path / "x.json", "a fire", "Describe it.") == expected
    assert read_batch_file(tmp_path / "x.jsonl", "a fire", "Describe it.") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"pre": "a.png", "promt": "x"}', r"line 1 has a field 'promt'. Did you mean 'prompt'"),
        ('{"pre": "a.png", "prompt": 5}', r"field 'prompt' is 5; expected a string"),
        ('{"prompt": "x"}', r"field 'pre' is missing"),
        ('{"pre": "a.png"}', r"has no 'prompt', nor is there one for all. Describe it."),
        ('"a.png"', r"expected an object"),
        ("{", r"line 1: not valid JSON"),
        ("", r"no entries"),
        (
            '{"pre": "a.png", "prompt": "x"}\n{"pre": "b/a.png", "prompt": "x"}',
            r"would be written to a\. Give each its own `name`",
        ),
        ('{"pre": "a.png", "prompt": "x", "name": "../a"}', r"is no file name"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The entry, the field and the mend."""
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(GenerateError, match=message):
        read_batch_file(tmp_path / "x.jsonl", None, "Describe it.")


@given(
    st.one_of(
        st.text(max_size=40), st.lists(st.dictionaries(st.sampled_from(["pre", "name"]), st.text())).map(json.dumps)
    )
)
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No other error than ours."""
    path = tmp_path_factory.mktemp("batch") / "x.json"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        entries = read_batch_file(path, "x", "Describe it.")
    except GenerateError:
        return
    assert entries
