"""Batch files: a JSON list, or one JSON object per line (.jsonl), of images and their prompts.

    {"pre": "tiles/a.png", "prompt": "a town after a flood", "name": "a_flood"}

`pre` is relative to the batch file unless absolute. `prompt` may be omitted if --prompt gives one for all entries,
`name` (of the generated file) to use the stem of `pre`.
"""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from data.documents import parse_document, read_document
from data.errors import DataError, shortened
from data.jsonl import LONGEST_TEXT, read_lines
from generate.errors import GenerateError

FIELDS = ("pre", "prompt", "name")
LIST, ENTRY = TypeAdapter(list[Any]), TypeAdapter(Any)
NAME = re.compile(r"[^/\\\0.][^/\\\0]*")


def read_batch_file(path: Path, prompt: str | None, advice: str) -> list[tuple[Path, str, str]]:
    """The entries of a batch file in order: (pre image, name, prompt); `advice` says how to write a prompt.

    Raises:
        GenerateError: naming the entry, the field and the fix.
    """
    entries = [_entry(path, where, entry, prompt, advice) for where, entry in _entries(path)]
    if not entries:
        raise GenerateError(f'{path}: no entries. Expected e.g. {{"pre": "a.png", "prompt": "..."}}.')
    seen: dict[str, Path] = {}
    for pre, name, _ in entries:
        if name in seen:
            raise GenerateError(
                f"{path}: both {seen[name]} and {pre} would be written to {name}. Give each its own `name`."
            )
        seen[name] = pre
    return entries


def _entries(path: Path) -> list[tuple[str, Any]]:
    if path.suffix.lower() != ".jsonl":
        fix = 'Expected a list of entries [{"pre": "a.png", "prompt": "..."}, ...].'
        entries = read_document(path, LIST, fix, GenerateError)
        return [(f"entry {number}", entry) for number, entry in enumerate(entries, start=1)]
    try:
        lines = read_lines(path, "batch file")
    except DataError as error:
        raise GenerateError(str(error)) from None
    fix = 'Expected an object {"pre": "a.png", "prompt": "..."} on each line.'
    return [
        (f"line {number}", parse_document(text, f"{path}: line {number}", ENTRY, fix, GenerateError))
        for number, text in lines
    ]


def _entry(path: Path, where: str, entry: Any, prompt: str | None, advice: str) -> tuple[Path, str, str]:  # noqa: ANN401  # JSON
    if not isinstance(entry, dict):
        raise GenerateError(f'{path}: {where} is {json.dumps(entry)[:60]}; expected an object {{"pre": ...}}.')
    for field, value in entry.items():
        if field not in FIELDS:
            near = get_close_matches(field, FIELDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Expected {', '.join(FIELDS)}."
            raise GenerateError(f"{path}: {where} has a field {shortened(field)}.{hint}")
        if not isinstance(value, str):
            raise GenerateError(f"{path}: {where}, field {field!r} is {json.dumps(value)[:60]}; expected a string.")
        if len(value) > LONGEST_TEXT:
            raise GenerateError(f"{path}: {where}, field {field!r} is longer than {LONGEST_TEXT:,} characters.")
    if "pre" not in entry:
        raise GenerateError(f"{path}: {where} names no image: field 'pre' is missing.")
    text = entry.get("prompt", prompt)
    if text is None:
        raise GenerateError(f"{path}: {where} has no 'prompt', nor is there one for all. {advice}")
    pre = path.parent / entry["pre"]
    name = entry.get("name", pre.stem)
    if not NAME.fullmatch(name):
        raise GenerateError(f"{path}: {where}, name {shortened(name)} is no file name. Omit / and a leading dot.")
    return pre, name, text
