"""Captions from elsewhere (a vision-language model, RSCC): a JSONL file that joins the built rows by scene or patch.

One object per line: `scene_id` (all its patches) or `patch_id`, `style`, `target` ("pre" or "post"), `text`, and if
the text speaks of directions `mirrored`, its wording for the mirrored view.
"""

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.caption_length import CLIP_TOKENS, estimated_tokens
from data.errors import DataError

FIELDS = ("scene_id", "patch_id", "style", "target", "text", "mirrored")
_UNLIMITED = "long"  # the one style that need not fit a text encoder
_DIRECTION = re.compile(
    r"\b((north|south)?-?(east|west)(ern|erly|wards?)?|left|right)(?!-?(over|angle))\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Line:
    number: int  # in the file, from 1
    id: str
    entry: dict[str, str | None]  # as in the `captions` column


class CaptionFile:
    """The lines of the file by the id they belong to, and what became of them."""

    def __init__(self, path: Path) -> None:
        """Read and check the whole file."""
        self.name = path.name
        try:
            content = path.read_bytes()
            texts = content.decode("utf-8").split("\n")
        except OSError as error:
            raise DataError(f"captions {path}: cannot be read ({error.strerror}). Check the path.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"captions {path}: not UTF-8 ({error}). Save it as UTF-8.") from None
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.lines = [_parse(text, f"{path}, line {i}", i) for i, text in enumerate(texts, 1) if text.strip()]
        if not self.lines:
            raise DataError(f"captions {path}: holds no caption. Expected a JSON object per line.")
        self._by_id: dict[str, list[_Line]] = {}
        for line in self.lines:
            self._by_id.setdefault(line.id, []).append(line)
        self._used: set[str] = set()

    def add_to(self, rows: list[dict[str, Any]]) -> None:
        """Append to the rows of a scene the captions that belong to them, those of the scene first."""
        for row in rows:
            for key in (row["scene_id"], row["patch_id"]):
                row["captions"] += [line.entry for line in self._by_id.get(key, [])]

    def count(self, rows: list[dict[str, Any]]) -> None:
        """Note which captions belong to these rows, whether they were just added or in an earlier run."""
        self._used.update(row[name] for row in rows for name in ("scene_id", "patch_id") if row[name] in self._by_id)

    def outcome(self) -> dict[str, Any]:
        """What dataset.json says: how many joined, and by line and id those that call for a look."""
        joined = [line for line in self.lines if line.id in self._used]
        return {
            "file": self.name,
            "sha256": self.sha256,
            "lines": len(self.lines),
            "joined": len(joined),
            "unmatched": [_name(line) for line in self.lines if line.id not in self._used],
            "too_long": [_name(line) for line in joined if _too_long(line)],
            "not_for_mirrored_views": [_name(line) for line in joined if line.entry["mirrored"] is None],
        }


def caption_notes(outcome: dict[str, Any] | None) -> dict[str, list[str]]:
    """What the summary and the report say of the file of captions, and of which lines."""
    if outcome is None:
        return {}
    file = outcome["file"]
    notes = {
        f"captions of {file} that found no patch": outcome["unmatched"],
        f"captions of {file} that may exceed {CLIP_TOKENS} tokens": outcome["too_long"],
        f"captions of {file} with directions but no `mirrored`": outcome["not_for_mirrored_views"],
    }
    found = {f"{what} ({len(lines):,})": lines for what, lines in notes.items() if lines}
    joined = {f"captions of {file} that joined": [f"{outcome['joined']:,} of {outcome['lines']:,}"]}
    return joined | {what: [f"{line['id']} (line {line['line']})" for line in lines] for what, lines in found.items()}


def _parse(text: str, where: str, number: int) -> _Line:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({error}). Expected one object per line.") from None
    if not isinstance(content, dict):
        raise DataError(f"{where}: a {type(content).__name__}, expected an object with {', '.join(FIELDS[:5])}.")
    for name, value in content.items():
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Expected {', '.join(FIELDS)}."
            raise DataError(f"{where}: no such field {name!r}. {hint}")
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {name} is {value!r}, expected a text that is not empty.")
    if ("scene_id" in content) == ("patch_id" in content):
        raise DataError(f"{where}: give either scene_id or patch_id, so that the caption finds its images.")
    for name in ("style", "target", "text"):
        if name not in content:
            raise DataError(f"{where}: has no {name}. Expected scene_id or patch_id, style, target, text.")
    if content["target"] not in ("pre", "post"):
        raise DataError(f"{where}: target is {content['target']!r}, expected 'pre' or 'post': the image described.")
    entry = {name: content[name] for name in ("style", "target", "text")}
    fits_both = None if _DIRECTION.search(content["text"]) else content["text"]
    entry["mirrored"] = content.get("mirrored", fits_both)
    return _Line(number, content.get("scene_id") or content["patch_id"], entry)


def _too_long(line: _Line) -> bool:
    style, text = line.entry["style"], line.entry["text"] or ""
    parts = text.split("\n") if style == "chunks" else [text]
    return style != _UNLIMITED and any(estimated_tokens(part) > CLIP_TOKENS for part in parts)


def _name(line: _Line) -> dict[str, Any]:
    return {"line": line.number, "id": line.id}
