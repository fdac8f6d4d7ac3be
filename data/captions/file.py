"""Captions from elsewhere (a vision-language model, RSCC): a JSONL file that joins the built rows by scene or patch.

One object per line: `scene_id` (all its patches) or `patch_id`, `style`, `target` ("pre" or "post"), `text`, and if
the text speaks of directions `mirrored`, its wording for the mirrored view. What `pre2post caption` notes besides, how
the caption was made, is left in the file. RSCC's own files are read as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data.captions.check import faults, truth_of_row
from data.captions.facts import CaptionOptions
from data.captions.length import CLIP_TOKENS, estimated_tokens
from data.captions.meaning import has_side, other_disaster, tells_damage
from data.errors import DataError
from data.jsonl import parse_texts, read_lines
from data.names import patch_of_quarter
from data.storage import sha256

REQUIRED = ("style", "target", "text")
MADE_BY = ("key", "model", "revision", "prompt")  # of `pre2post caption`
FIELDS = ("scene_id", "patch_id", *REQUIRED, "mirrored", *MADE_BY)
CHECKED_FROM = ("event", "labels", "size", "pixel_size_m", "buildings")  # columns
_OF_THE_LABELS = ("count", "severity", "direction")  # what else can be wrong is named in a line of its own
# RSCC's captions speak of both images, as one would of the second.
RSCC_REQUIRED = ("pre_image", "post_image", "change_caption")
RSCC_FIELDS = (*RSCC_REQUIRED, "model_id", "inference_type", "mask", "filename")
RSCC_STYLE = "rscc"
_IN_LINES = "chunks"  # how a style ends whose lines are encoded one by one
_UNLIMITED = "long"  # the one style that need not fit a text encoder


@dataclass(frozen=True)
class Line:
    """A caption of the file."""

    number: int  # in the file, from 1
    id: str
    entry: dict[str, str | None]  # as in the `captions` column


class CaptionFile:
    """The lines of the file by the id they belong to, and what became of them."""

    def __init__(self, path: Path, wording: CaptionOptions = CaptionOptions()) -> None:  # noqa: B008 (frozen)
        """Read and check the whole file; `wording` says which damage the build calls severe."""
        self._wording = wording
        self.name = path.name
        texts = read_lines(path, "captions")
        self.sha256 = sha256(path)
        self.lines = [_parse(text, f"{path}, line {number}", number) for number, text in texts]
        if not self.lines:
            raise DataError(f"captions {path}: holds no caption. Expected a JSON object per line.")
        self._by_id: dict[str, list[Line]] = {}
        for line in self.lines:
            self._by_id.setdefault(line.id, []).append(line)
        self._used: dict[str, set[str]] = {}  # id -> the disaster types of its patches
        self._denied: dict[int, str] = {}  # number of a line -> what the labels deny of it

    def add_to(self, whole_id: str, rows: list[dict[str, Any]]) -> None:
        """Append to the rows of a scene the captions that belong to them, those of the scene first.

        Args:
            whole_id: the raster of which the scene is a part, else the scene.
            rows: of the scene.
        """
        for row in rows:
            for key in _ids(whole_id, row):
                row["captions"] += [line.entry for line in self._by_id.get(key, [])]

    def count(self, whole_id: str, rows: list[dict[str, Any]]) -> None:
        """Note which captions belong to these rows, whether they were just added or in an earlier run."""
        for row in rows:
            for key in _ids(whole_id, row):
                if key in self._by_id:
                    self._used.setdefault(key, set()).add(row["disaster_type"])
            for line in self._by_id.get(row["patch_id"], []):
                self._check(line, row)

    def outcome(self) -> dict[str, Any]:
        """What dataset.json says: how many joined, and those to check, by line and id."""
        joined = [line for line in self.lines if line.id in self._used]
        return {
            "file": self.name,
            "sha256": self.sha256,
            "lines": len(self.lines),
            "joined": len(joined),
            "unmatched": [_name(line) for line in self.lines if line.id not in self._used],
            "too_long": [_name(line) for line in joined if _too_long(line)],
            "not_for_mirrored_views": [_name(line) for line in joined if line.entry["mirrored"] is None],
            "damage_before": [_name(line) for line in joined if _tells_damage_before(line)],
            "other_disaster": [_name(line) for line in joined if self._tells_other_disaster(line)],
            "contradictions": [
                _name(line) | {"why": self._denied[line.number]} for line in joined if line.number in self._denied
            ],
        }

    def _check(self, line: Line, row: dict[str, Any]) -> None:
        truth = truth_of_row(row, self._wording.moderate_from, self._wording.severe_from)
        found = faults(line.entry["text"] or "", line.entry["target"] or "", truth)
        if wrong := [f"{fault.kind} ({fault.words})" for fault in found if fault.kind in _OF_THE_LABELS]:
            self._denied[line.number] = ", ".join(wrong)

    def _tells_other_disaster(self, line: Line) -> bool:
        return any(other_disaster(line.entry["text"] or "", kind) for kind in self._used[line.id])


def caption_notes(outcome: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """What the summary and the report say of the file of captions, and of which lines."""
    if outcome is None:
        return {}
    file = outcome["file"]
    notes = {  # of other disasters datasets of earlier versions do not say
        f"captions of {file} that match no patch": outcome["unmatched"],
        f"captions of {file} that may exceed {CLIP_TOKENS} tokens": outcome["too_long"],
        f"captions of {file} with directions, or not in English, and no `mirrored`": outcome["not_for_mirrored_views"],
        f"captions of {file} that mention damage in a pre image": outcome["damage_before"],
        f"captions of {file} that mention another disaster than the labels": outcome.get("other_disaster", []),
        f"captions of {file} that the labels contradict": outcome.get("contradictions", []),
    }
    found = {f"{what} ({len(lines):,})": lines for what, lines in notes.items() if lines}
    joined = {f"captions of {file} that joined": [f"{outcome['joined']:,} of {outcome['lines']:,}"]}
    return joined | {what: list(map(_shown, lines)) for what, lines in found.items()}


def _parse(text: str, where: str, number: int) -> Line:
    content = _from_rscc(text, where) if '"change_caption"' in text else parse_texts(text, where, FIELDS, REQUIRED)
    if ("scene_id" in content) == ("patch_id" in content):
        raise DataError(f"{where}: give either scene_id or patch_id, so that the caption finds its images.")
    if content["target"] not in ("pre", "post"):
        raise DataError(f"{where}: target is {content['target']!r}, expected 'pre' or 'post': the image described.")
    entry: dict[str, str | None] = {name: content[name] for name in REQUIRED}
    fits_both = None if has_side(content["text"]) else content["text"]
    entry["mirrored"] = content.get("mirrored", fits_both)
    return Line(number, content.get("scene_id") or content["patch_id"], entry)


def _ids(whole_id: str, row: dict[str, Any]) -> dict[str, None]:
    """What a caption may name to reach the row, each once."""
    return dict.fromkeys((whole_id, row["scene_id"], row["patch_id"]))


def _from_rscc(text: str, where: str) -> dict[str, str]:
    """The same line with our fields; an image that is no quarter of a scene keeps its name, and finds no patch."""
    content = parse_texts(text, where, RSCC_FIELDS, RSCC_REQUIRED)
    name = PurePosixPath(content["post_image"]).stem
    return {
        "patch_id": patch_of_quarter(name) or name,
        "style": RSCC_STYLE,
        "target": "post",
        "text": content["change_caption"],
    }


def _too_long(line: Line) -> bool:
    style, text = line.entry["style"] or "", line.entry["text"] or ""
    parts = text.split("\n") if style.endswith(_IN_LINES) else [text]
    return style != _UNLIMITED and any(estimated_tokens(part) > CLIP_TOKENS for part in parts)


def _tells_damage_before(line: Line) -> bool:
    return line.entry["target"] == "pre" and tells_damage(line.entry["text"] or "") is not None


def _shown(line: Mapping[str, Any]) -> str:
    return f"{line['id']} (line {line['line']})" + (f": {line['why']}" if "why" in line else "")


def _name(line: Line) -> dict[str, Any]:
    return {"line": line.number, "id": line.id}
