"""Find the scenes that a manifest lists: any bi-temporal images of the user, one pair per line of a JSONL file.

    {"pre": "a/1.tif", "post": "b/1.tif", "event": "hurricane-ida", "disaster_type": "flooding"}

Paths are relative to the manifest. A line with an error is left out and reported; the others are built.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.jsonl import LONGEST_PATH, check_texts, parse_date, parse_object, read_lines, stop
from data.schema import DAMAGE_VALUES
from data.sources.events import CAUSES
from data.sources.history import parse_history
from data.sources.release import Release, SceneFiles, VectorFile

REQUIRED = ("pre", "post", "event")
LABELS = ("pre_label", "post_label", "mask")  # for this pair alone
VECTORS = ("footprints", "labels")  # one file for many pairs
DAMAGE = ("damage_column", "damage_values")
DESCRIBING = ("scene_id", "disaster_type", "pre_date", "post_date")
FIELDS = (*REQUIRED, *DESCRIBING, *LABELS, *VECTORS, *DAMAGE, "history", "post_again", "split")
TABLES = ("history", "damage_values")  # are no texts
SPLIT_WORDS = ("train", "validation", "test")
_SCENE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_EVENT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def find_pairs(manifest: Path) -> Release:
    """The scenes of a manifest, in the order of their ids."""
    lines = read_lines(manifest, "manifest")
    if not lines:
        raise DataError(f"manifest {manifest}: holds no pair. Expected an object with {', '.join(REQUIRED)} per line.")
    scenes: dict[str, SceneFiles] = {}
    numbers: dict[str, int] = {}
    mistakes: list[tuple[str, str]] = []
    for number, text in lines:
        where = f"{manifest}, line {number}"
        try:
            scene = _scene(parse_object(text, where, FIELDS, REQUIRED), manifest.parent, where)
            if scene.scene_id in scenes:
                fix = f"that of line {numbers[scene.scene_id]} too; give each its own"
                stop(where, "scene_id", scene.scene_id, fix)
        except DataError as error:
            mistakes.append((f"{manifest.name}, line {number}", str(error)))
        else:
            scenes[scene.scene_id], numbers[scene.scene_id] = scene, number
    if not scenes:
        raise DataError(f"none of {len(lines)} lines of {manifest} could be used. The first: {mistakes[0][1]}")
    return Release(tuple(scenes[name] for name in sorted(scenes)), tuple(mistakes), ())


def _scene(content: dict[str, Any], folder: Path, where: str) -> SceneFiles:
    given = check_texts({name: value for name, value in content.items() if name not in TABLES}, where)
    files = {name: folder / given[name] for name in ("pre", "post", *LABELS, *VECTORS, "post_again") if name in given}
    for name, path in files.items():
        if not os.path.isfile(path):  # also false for text that cannot be a path
            state = "is a folder" if os.path.isdir(path) else "does not exist"
            stop(where, name, given[name], f"{str(path)[:LONGEST_PATH]} {state}. Paths are relative to the manifest")
    if files["pre"].resolve() == files["post"].resolve():
        stop(where, "post", given["post"], "the same file as pre")
    if "mask" in given and ("pre_label" in given or "post_label" in given):
        stop(where, "mask", given["mask"], "give label files or a mask, not both")
    vectors = _vectors(content, given, files, where)
    days = {name: parse_date(given[name], where, name) for name in ("pre_date", "post_date") if name in given}
    if len(days) == 2 and days["post_date"] < days["pre_date"]:
        fix = f"earlier than pre_date, {given['pre_date']}. Are pre and post swapped?"
        stop(where, "post_date", given["post_date"], fix)
    _check_words(given, where)
    return SceneFiles(
        scene_id=_scene_id(given, files["pre"], where),
        event=given["event"],
        official_split=given.get("split", ""),
        pre_image=files["pre"],
        post_image=files["post"],
        pre_label=files.get("pre_label"),
        post_label=files.get("post_label"),
        change=None,
        mask=files.get("mask"),
        vectors=vectors,
        post_again=files.get("post_again"),
        disaster_type=given.get("disaster_type", ""),
        pre_date=days.get("pre_date"),
        post_date=days.get("post_date"),
        history=parse_history(content.get("history", []), folder, where),
    )


def _vectors(content: dict[str, Any], given: dict[str, str], files: dict[str, Path], where: str) -> VectorFile | None:
    """The file of outlines that a line names, if any, and what its damage means."""
    named = [name for name in VECTORS if name in given]
    if named and (others := [name for name in (*LABELS, *VECTORS) if name in given and name != named[0]]):
        stop(where, named[0], given[named[0]], f"give it or {others[0]}, not both")
    for name in DAMAGE:
        if name in content and "labels" not in given:
            stop(where, name, str(content[name]), "it describes the file of labels, and there is no labels")
    if not named:
        return None
    values = content.get("damage_values", {})
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values.values()):
        stop(where, "damage_values", str(values), 'expected an object such as {"collapsed": "destroyed"}')
    for name in values.values():
        if name not in DAMAGE_VALUES:
            stop(where, "damage_values", name, f"expected one of {', '.join(DAMAGE_VALUES)}")
    meanings = tuple(sorted((word.strip().lower(), name) for word, name in values.items()))
    column = given.get("damage_column", "damage") if "labels" in given else None
    return VectorFile(files[named[0]], column, meanings)


def _scene_id(given: dict[str, str], pre: Path, where: str) -> str:
    """As given, else the name of the pre image."""
    scene_id = given.get("scene_id", pre.stem)
    if not _SCENE_ID.fullmatch(scene_id):
        stop(where, "scene_id", scene_id, "expected letters, digits, '.', '_' and '-', at most 100")
    return scene_id


def _check_words(given: dict[str, str], where: str) -> None:
    if not _EVENT.fullmatch(given["event"]):
        fix = "expected lower-case letters, digits and hyphens, as in hurricane-ida"
        stop(where, "event", given["event"], fix)
    if given.get("split", "train") not in SPLIT_WORDS:
        stop(where, "split", given["split"], f"expected {', '.join(SPLIT_WORDS)}")
    kind = given.get("disaster_type", "fire")
    if kind not in CAUSES and (near := difflib.get_close_matches(kind, CAUSES, 1)):
        stop(where, "disaster_type", kind, f"did you mean {near[0]}?")
    if not _EVENT.fullmatch(kind.replace(" ", "-")):
        stop(where, "disaster_type", kind, f"expected {', '.join(CAUSES)}, or another plain word")
