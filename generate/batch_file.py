"""Batch files: a JSON list, or one JSON object per line (.jsonl), of images and what to make of them.

    {"pre": "tiles/a.png", "prompt": "a town after a flood", "name": "a_flood"}

`pre` is looked for beside the batch file unless it is absolute. `prompt` may be left out if --prompt says it for all,
`name` (of the generated file) if the stem of `pre` will do.
"""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from generate.errors import GenerateError

FIELDS = ("pre", "prompt", "name")
NAME = re.compile(r"[^/\\\0.][^/\\\0]*")


def read_batch_file(path: Path, prompt: str | None) -> list[tuple[Path, str, str]]:
    """The entries of a batch file in order: (pre image, name, prompt).

    Raises:
        GenerateError: naming the entry, the field and the mend.
    """
    entries = [_entry(path, where, entry, prompt) for where, entry in _entries(path)]
    if not entries:
        raise GenerateError(f'{path}: it has no entries. Expected e.g. {{"pre": "a.png", "prompt": "..."}}.')
    seen: dict[str, Path] = {}
    for pre, name, _ in entries:
        if name in seen:
            raise GenerateError(
                f"{path}: both {seen[name]} and {pre} would become {name}. Give each a `name` of its own."
            )
        seen[name] = pre
    return entries


def _entries(path: Path) -> list[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GenerateError(f"{path}: no such file.") from None
    except UnicodeDecodeError as error:
        raise GenerateError(f"{path}: not a text file in UTF-8 ({error}).") from None
    if path.suffix.lower() == ".jsonl":
        lines = enumerate(text.splitlines(), start=1)
        return [(f"line {number}", _parsed(path, f"line {number}", line)) for number, line in lines if line.strip()]
    entries = _parsed(path, "the file", text)
    if not isinstance(entries, list):
        raise GenerateError(f"{path}: expected a list of entries [{{...}}, ...], found {type(entries).__name__}.")
    return [(f"entry {number}", entry) for number, entry in enumerate(entries, start=1)]


def _parsed(path: Path, where: str, text: str) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(text)
    except ValueError as error:
        raise GenerateError(f"{path}: {where} is not JSON ({error}).") from None


def _entry(path: Path, where: str, entry: Any, prompt: str | None) -> tuple[Path, str, str]:  # noqa: ANN401  # JSON
    if not isinstance(entry, dict):
        raise GenerateError(f'{path}: {where} is {json.dumps(entry)[:60]}; expected an object {{"pre": ...}}.')
    for field, value in entry.items():
        if field not in FIELDS:
            near = get_close_matches(field, FIELDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Expected {', '.join(FIELDS)}."
            raise GenerateError(f"{path}: {where} has a field {field!r}.{hint}")
        if not isinstance(value, str):
            raise GenerateError(f"{path}: {where}, field {field!r} is {json.dumps(value)[:60]}; expected a text.")
    if "pre" not in entry:
        raise GenerateError(f"{path}: {where} does not say which image: field 'pre' is missing.")
    text = entry.get("prompt", prompt)
    if text is None:
        raise GenerateError(f"{path}: {where} has no 'prompt'. Say there what the new image shows, or use --prompt.")
    pre = path.parent / entry["pre"]
    name = entry.get("name", pre.stem)
    if not NAME.fullmatch(name):
        raise GenerateError(f"{path}: {where}, name {name!r} is no file name. Leave out / and a dot in front.")
    return pre, name, text
