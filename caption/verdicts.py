"""What passed and what did not: two files and a table."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.captions.check import FAULTS, Fault, Truth, faults
from data.errors import shortened
from data.storage import reraise_disk_errors, whole
from data.strict_json import as_json


@dataclass(frozen=True)
class Verdict:
    """A line of a caption file, and what is wrong with it."""

    line: str  # as it stands in the file
    id: str  # of its patch or scene
    faults: tuple[Fault, ...]
    instead: str = ""  # the line that takes its place if anything is wrong


def judge(line: str, id: str, entry: dict[str, str | None], truth: Truth, instead: str = "") -> Verdict:
    """Check a caption, and its wording for the mirrored view, against the labels."""
    target = entry["target"] or ""
    found = faults(entry["text"] or "", target, truth)
    if entry.get("mirrored") and entry["mirrored"] != entry["text"]:
        kinds = {fault.kind for fault in found}
        found += [one for one in faults(entry["mirrored"] or "", target, truth.mirrored()) if one.kind not in kinds]
    return Verdict(line, id, tuple(found), instead)


def quarantine_of(out: Path) -> Path:
    """The file for captions that did not pass, beside that of those that did."""
    return out.with_name(f"{out.stem}.quarantined.jsonl")


def write_verdicts(out: Path, verdicts: Sequence[Verdict]) -> None:
    """Write both files, whole; the quarantined have their reasons in `why`."""
    with reraise_disk_errors(out), whole(out) as partial:
        kept = [one.instead if one.faults else one.line for one in verdicts]
        partial.write_text("".join(line.rstrip() + "\n" for line in kept if line), encoding="utf-8")
    with reraise_disk_errors(quarantine_of(out)), whole(quarantine_of(out)) as partial:
        lines = [as_json(_explained(one), None) for one in verdicts if one.faults]
        partial.write_text("".join(lines), encoding="utf-8")


def table(verdicts: Sequence[Verdict], out: Path) -> str:
    """How many passed, and how many did not for which reason, with an example each."""
    bad = [one for one in verdicts if one.faults]
    lines = [f"{len(verdicts):,} captions checked: {len(verdicts) - len(bad):,} pass, in {out}"]
    if bad:
        instead = "; captions from the labels take their places" * bool(bad[0].instead)
        lines.append(f"{len(bad):,} are quarantined, in {quarantine_of(out)}{instead}:")
    counts = Counter(fault.kind for one in bad for fault in one.faults)
    for kind, what in FAULTS.items():
        if counts[kind]:
            id, words = next((one.id, f.words) for one in bad for f in one.faults if f.kind == kind)
            lines.append(f"  {counts[kind]:>6,}  {kind}: {what}, such as {shortened(words)} of {id}")
    return "\n".join(lines)


def _explained(verdict: Verdict) -> dict[str, Any]:
    why = [f"{fault.kind}: {fault.words}" for fault in verdict.faults]
    return {**json.loads(verdict.line), "why": why}
