"""JSONL files that a user writes: one object of strings per line, every error reported with its line and field."""

import difflib
import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn

from data.errors import DataError, shortened
from data.files import read_file

LONGEST_PATH = 300  # characters of one that a message shows
LONGEST_TEXT = 1 << 16  # characters


def read_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1; errors call the file `what`."""
    try:
        texts = read_file(path, what).decode("utf-8-sig").split("\n")  # Windows editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise DataError(f"{what} {path}: not UTF-8 ({error}). Save it as UTF-8.") from None
    return [(number, text) for number, text in enumerate(texts, 1) if text.strip()]


def parse_texts(text: str, where: str, fields: Sequence[str], required: Sequence[str]) -> dict[str, str]:
    """One line as an object that has the `required` of the `fields` and no others, all of them strings."""
    return check_texts(parse_object(text, where, fields, required), where)


def parse_object(text: str, where: str, fields: Sequence[str], required: Sequence[str]) -> dict[str, Any]:
    """One line as an object that has the `required` of the `fields` and no others; null counts as absent."""
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _once_each(pairs, where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}). Expected one object per line.") from None
    if not isinstance(content, dict):
        raise DataError(f"{where}: a {type(content).__name__}, expected an object with {', '.join(required)}.")
    check_fields(content, where, fields)
    content = {name: value for name, value in content.items() if value is not None}
    for name in required:
        if name not in content:
            raise DataError(f"{where}: has no {name}. Expected {', '.join(required)}.")
    return content


def check_fields(content: Iterable[str], where: str, fields: Sequence[str]) -> None:
    """Stop at a name that is none of the fields, and name the nearest."""
    for name in content:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Expected {', '.join(fields)}."
            raise DataError(f"{where}: no such field {shortened(name)}. {hint}")


def check_texts(content: dict[str, Any], where: str) -> dict[str, str]:
    """The object, if all its values are texts."""
    for name, value in content.items():
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {name} is {shortened(value)}, expected a non-empty text.")
        if len(value) > LONGEST_TEXT:
            raise DataError(f"{where}: {name} has {len(value):,} characters, expected at most {LONGEST_TEXT:,}.")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise DataError(
                f"{where}: {name} is {shortened(value)}, which contains half a surrogate pair. Save it as UTF-8."
            )
    return content


def parse_date(text: str, where: str, field: str) -> date:
    """A day such as 2021-08-31."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        stop(where, field, text, "expected a date such as 2021-08-31")


def stop(where: str, field: str, value: str, fix: str) -> NoReturn:
    """Report an invalid value and how to fix it."""
    raise DataError(f"{where}: {field} is {shortened(value)}: {fix}.")


def _once_each(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{where}: {name} is given {names.count(name)} times. Keep one.")
    return dict(pairs)
