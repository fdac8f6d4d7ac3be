"""Find the scenes of an xView2 release: which pre and post images and labels belong together.

Layout: `<root>/{train,tier1,tier3,test,hold}/{images,labels}/`, any subset, or one folder that directly
holds `images/` and `labels/`. Names: `hurricane-michael_00000106_pre_disaster.png` (or .tif) and `.json`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data.errors import DataError
from data.sources.history import EarlierImage, read_history

OFFICIAL_SPLITS = ("train", "tier1", "tier3", "test", "hold")
IMAGE_NAME = re.compile(r"(?P<scene_id>(?P<event>[a-z0-9-]+)_\d{8})_(?P<phase>pre|post)_disaster\.(?i:png|tiff?)")
LABEL_NAME = re.compile(r"(?P<scene_id>[a-z0-9-]+_\d{8})_(pre|post)_disaster\.json")
LAYOUT = (
    "expected an xView2 release, SOURCE/{train,tier1,tier3,test,hold}/images/EVENT_00000000_{pre,post}_disaster.png "
    "or .tif (any subset of these splits), or a folder that directly holds images/ and labels/"
)


@dataclass(frozen=True)
class Part:
    """A window of a raster that is too large to be one scene, in pixels of its pre image."""

    of: str  # the scene id of the whole raster
    number: int  # of the part, from 0
    row: int
    col: int
    height: int
    width: int
    raster_height: int
    raster_width: int
    limits: tuple[tuple[float, float], ...] | None  # the range of 16-bit values, one for all parts; None: 8 bits


@dataclass(frozen=True)
class VectorFile:
    """A file of building outlines that covers the scene, and perhaps many others; manifests only."""

    path: Path
    damage_column: str | None  # None: footprints without damage
    meanings: tuple[tuple[str, str], ...] = ()  # words of the column in lower case, and keys of DAMAGE_VALUES


@dataclass(frozen=True)
class SceneFiles:
    """The files of one scene, and its entries in a manifest; missing ones are None or ""."""

    scene_id: str
    event: str
    official_split: str  # the release folder; "" if SOURCE directly holds images/
    pre_image: Path
    post_image: Path
    pre_label: Path | None
    post_label: Path | None
    change: Path | None  # true strength of change, simulated releases only
    cover: Path | None = None  # what nobody could foresee, simulated releases only; old ones count it as change
    mask: Path | None = None  # the damage mask of a pair without label files: manifests only
    vectors: VectorFile | None = None  # instead of label files
    disaster_type: str = ""
    pre_date: date | None = None
    post_date: date | None = None
    part: Part | None = None  # all of the images unless given
    post_again: Path | None = None  # a second image of the same aftermath
    history: tuple[EarlierImage, ...] = ()  # from before pre, the oldest first

    @property
    def whole_id(self) -> str:
        """What must stay in one split: the raster of which this scene is a part, else the scene."""
        return self.part.of if self.part else self.scene_id

    @property
    def labels(self) -> str:
        """Which label files the scene has, in the words of the `labels` column."""
        if self.mask:
            return "mask"
        if self.vectors:
            return "post" if self.vectors.damage_column else "pre"
        if self.pre_label:
            return "both" if self.post_label else "pre"
        return "post" if self.post_label else "none"

    def label_files(self) -> list[Path]:
        """The label files there are."""
        return [path for path in (self.pre_label, self.post_label) if path is not None]

    def files(self) -> list[Path]:
        """Every file there is, in a fixed order."""
        return list(self.roles().values())

    def roles(self) -> dict[str, Path]:
        """Every file there is by its role."""
        roles = ("pre_image", "post_image", "pre_label", "post_label", "change", "cover", "mask", "post_again")
        found = {role: path for role in roles if (path := getattr(self, role)) is not None}
        found |= {"vectors": self.vectors.path} if self.vectors else {}
        return found | {f"history_{number}": earlier.image for number, earlier in enumerate(self.history)}


@dataclass(frozen=True)
class Release:
    """What was found in a source folder or a manifest."""

    scenes: tuple[SceneFiles, ...]  # sorted by scene id
    incomplete: tuple[tuple[str, str], ...]  # (scene id or line, why it cannot be used)
    unrecognised: tuple[str, ...]  # files whose names are not xView2 names, labels without images; printable
    repeated: tuple[str, ...] = ()  # scenes in two split folders, and which of the two is used


def find_release(source: Path) -> Release:
    """List the scenes below `source`, or say what is wrong with the folder."""
    if not source.is_dir():
        state = "is a file, not a folder" if source.exists() else "does not exist"
        raise DataError(f"source {source} {state}; {LAYOUT}. Check --source.")
    scenes: dict[str, SceneFiles] = {}
    incomplete: list[tuple[str, str]] = []
    unrecognised: list[str] = []
    repeated: list[str] = []
    for official_split, folder in _split_folders(source):
        phases, strange = _images_by_scene(_inside(folder, "images"))
        unrecognised += [f"{folder.name}/images/{name}" for name in strange]
        unrecognised += [f"{folder.name}/labels/{name}" for name in _stray_labels(_inside(folder, "labels"), phases)]
        for scene_id, images in sorted(phases.items()):
            if reason := _unusable(_inside(folder, "images"), scene_id, images):
                incomplete.append((scene_id, reason))
            elif scene_id in scenes:
                other = scenes[scene_id].official_split
                repeated.append(f"{scene_id} (in {other}, which is used, and in {official_split})")
            else:
                try:
                    scenes[scene_id] = _scene_files(folder, scene_id, images, official_split)
                except DataError as error:
                    incomplete.append((scene_id, str(error)))
    if not scenes:
        raise DataError(f"no pre/post pairs in {source}: {LAYOUT}. Found: {_what_is_there(source, unrecognised)}.")
    ordered = tuple(scenes[scene_id] for scene_id in sorted(scenes))
    return Release(ordered, tuple(sorted(incomplete)), tuple(unrecognised), tuple(sorted(repeated)))


def _split_folders(source: Path) -> list[tuple[str, Path]]:
    found = [(name, _inside(source, name)) for name in OFFICIAL_SPLITS]
    splits = [(name, folder) for name, folder in found if _inside(folder, "images").is_dir()]
    if not splits and _inside(source, "images").is_dir():
        name = source.name.lower()
        return [(name if name in OFFICIAL_SPLITS else "", source)]
    return splits


def _inside(parent: Path, name: str) -> Path:
    """A folder of this name, in whatever case it is written: some unpackers and disks change it."""
    path = parent / name
    if path.exists() or not parent.is_dir():
        return path
    return next((other for other in _listed(parent) if other.name.lower() == name), path)


def _images_by_scene(folder: Path) -> tuple[dict[str, dict[str, list[Path]]], list[str]]:
    """Scene id -> phase -> its images, which should be one; and the other names."""
    phases: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    strange = []
    for path in _listed(folder):
        if match := IMAGE_NAME.fullmatch(path.name):
            phases[match["scene_id"]][match["phase"]].append(path)
        elif not path.name.startswith("."):
            strange.append(printable(path.name))
    return phases, strange


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}). Check its permissions and the disk.") from None


def _stray_labels(folder: Path, scene_ids: Container[str]) -> list[str]:
    """Files in labels/ that belong to no image."""
    if not folder.is_dir():
        return []
    names = [path.name for path in _listed(folder) if not path.name.startswith(".")]
    found = [(name, LABEL_NAME.fullmatch(name)) for name in names]
    return [printable(name) for name, match in found if not match or match["scene_id"] not in scene_ids]


def printable(name: str) -> str:
    """A file name as text: bytes that are not UTF-8, and characters that would break the line, are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _unusable(folder: Path, scene_id: str, images: dict[str, list[Path]]) -> str:
    """Why a scene with these images cannot be used; "" if it can."""
    for phase in ("pre", "post"):
        if not images[phase]:
            expected = folder / f"{scene_id}_{phase}_disaster.png"
            return f"the {phase} image is missing: expected {expected}"
        if len(images[phase]) > 1:
            names = " and ".join(path.name for path in images[phase])
            return f"there are two {phase} images, {names}. Keep one of them in {folder}."
    return ""


def _scene_files(folder: Path, scene_id: str, images: dict[str, list[Path]], official_split: str) -> SceneFiles:
    def if_there(path: Path) -> Path | None:
        return (
            path if os.path.lexists(path) else None
        )  # a dead link, or what is not a file, is reported when it is read

    labels = _inside(folder, "labels")
    history = if_there(folder / "history" / f"{scene_id}_history.json")
    return SceneFiles(
        scene_id=scene_id,
        event=scene_id.rsplit("_", 1)[0],
        official_split=official_split,
        pre_image=images["pre"][0],
        post_image=images["post"][0],
        pre_label=if_there(labels / f"{scene_id}_pre_disaster.json"),
        post_label=if_there(labels / f"{scene_id}_post_disaster.json"),
        change=if_there(folder / "change" / f"{scene_id}_change.png"),
        cover=if_there(folder / "cover" / f"{scene_id}_cover.png"),
        post_again=if_there(folder / "again" / f"{scene_id}_post_again.png"),
        history=read_history(history) if history else (),
    )


def _what_is_there(source: Path, unrecognised: list[str]) -> str:
    if unrecognised:
        return f"{len(unrecognised)} image files with other names or without a partner, e.g. {unrecognised[0]}"
    names = sorted(printable(path.name) + "/" * path.is_dir() for path in _listed(source))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
