"""Write a simulated release in the xView2 layout: procedural scenes whose true change is known at every pixel.

Smallest run, about ten seconds:  pre2post simulate --out /tmp/release --scenes 6
"""

import re
import uuid
from functools import partial
from pathlib import Path

import numpy as np

from data.disk import look
from data.errors import DataError
from data.progress import Bar
from data.simulation.aftermath import ravage
from data.simulation.again import photograph_again
from data.simulation.capture import acquisitions, photograph, unforeseeable
from data.simulation.disaster import SUBTYPES, UNCLASSIFIED, classify, confined, draw_severity, unleash
from data.simulation.events import DISASTER_TYPES, EVENTS
from data.simulation.history import cloud_field, look_back
from data.simulation.place import make_place
from data.simulation.release import AGAIN, FOLDERS, Scene, write_scene
from data.simulation.season import in_season, own_dates, own_scale
from data.storage import entries, reraise_disk_errors, whole_folder
from data.workers import WorkerPool, default_workers

VEIL_HIDES = 0.55  # mean opacity above which a building cannot be assessed
REGION_DEG = 0.06  # scenes lie within this of their event's centre


def simulate(
    *,
    out: Path,
    scenes: int = 40,
    seed: int = 0,
    varied: bool = False,
    history: int = 0,
    second_post: bool = False,
    confine: bool = False,
    workers: int = default_workers(),
) -> None:
    """Write a release of simulated scenes in the xView2 layout.

    Besides `images`, `labels` and `targets`, each split has the folders `change`: how much the disaster has changed
    the surface of each pixel, 0 (only light, season and sensor differ) to 255 (replaced); and `cover`: how much of it
    shows what nobody can foresee, 0 to 255: cloud or smoke over post, ground that cloud hides in every image from
    before the event, and missing data. They may overlap.

    Args:
        out: Folder to write; must not exist or be empty.
        scenes: Number of scenes. Any six in a row hold all six disaster types.
        seed: Scene k depends on (seed, k) only, not on `scenes` or `workers`.
        varied: Every scene has days and a pixel size of its own (0.5 to 2 m) and looks like them: plants wither in
            winter, coarse scenes have fewer pixels. For learning from metadata; not with a history.
        history: Earlier images of every place, in a folder `history` (docs/sources.md). With any, clouds hide a part of
            each image from before the event, pre too, and another part of each. Post does not depend on it.
        second_post: Also photograph each aftermath on another day, in a folder `again`: what a perfect answer could
            be measured with (docs/evaluate.md). Nothing else depends on it.
        confine: Every disaster strikes only parts of its scene, which nothing in the pre image shows. For learning
            words that say where: otherwise the pre image shows it by itself (docs/prompt-study.md).
        workers: Processes to use.

    Raises:
        DataError: If `out` is not empty, or a number is not positive.
    """
    look(out)
    if out.exists() and (not out.is_dir() or entries(out)):
        raise DataError(f"{out}: is not an empty folder. Nothing was written; choose another --out or empty it.")
    if scenes < 1 or workers < 1:
        raise DataError(f"scenes is {scenes} and workers is {workers}; both must be at least 1.")
    if history < 0:
        raise DataError(f"history is {history}; expected the number of earlier images, 0 or more.")
    if history and varied:
        raise DataError(f"history is {history} and varied is true: passes are on the days of the event. Choose one.")
    if second_post and varied:
        raise DataError("second_post and varied are true: the second pass is in the season of the event. Choose one.")
    with reraise_disk_errors(out), whole_folder(out, _is_ours) as folder:
        for split in ("train", "test"):
            for kind in (*FOLDERS, *["history"] * (history > 0), *[AGAIN] * second_post):
                (folder / split / kind).mkdir(parents=True)
        job = partial(_make_scene, folder, seed, varied, history, second_post, confine)
        with WorkerPool(min(workers, scenes)) as pool:
            for _ in Bar(pool.map(job, range(scenes)), total=scenes, desc="simulate", unit="scene"):
                pass


def _is_ours(name: str) -> bool:
    """Whether a simulated release has a file or folder of this name, relative to it."""
    kinds = "|".join((*FOLDERS, "history", AGAIN))
    return re.fullmatch(rf"(train|test)(/({kinds})(/[\w-]+\.(png|json))?)?", name) is not None


def _make_scene(
    folder: Path, seed: int, varied: bool, history: int, second_post: bool, confine: bool, index: int
) -> None:
    scene = render_scene(seed, index, varied, history, second_post, confine)
    # With a generator of its own, as the dates: a scene is the same but for what varies.
    write_scene(folder, own_scale(np.random.default_rng((seed, index, 3)), scene) if varied else scene)


def render_scene(
    seed: int, index: int, varied: bool = False, history: int = 0, second_post: bool = False, confine: bool = False
) -> Scene:
    """Scene `index` of the release with this seed; in the season of days of its own, or with so many earlier images.

    With `second_post` the aftermath is photographed twice; with `confine` the disaster strikes parts of the scene.
    """
    rng = np.random.default_rng((seed, index))
    event = EVENTS[index % len(EVENTS)]
    place = make_place(rng, event)
    force = unleash(rng, place, event.disaster_type, draw_severity(rng))
    if confine:
        force = confined(np.random.default_rng((seed, index, 4)), force)
    classes = classify(rng, place, force)
    surface = ravage(rng, place, force, classes)
    captures = acquisitions(event)
    if varied:
        captures = own_dates(np.random.default_rng((seed, index, 2)), captures)
        surface.albedo = in_season(surface.albedo, place.green * (1 - surface.changed), captures["post"], event.lat)
        place.albedo = in_season(place.albedo, place.green, captures["pre"], event.lat)
    # With a generator of its own, so that all else is as it is without a history.
    veil = cloud_field(np.random.default_rng((seed, index, 1))) if history else None
    pair = photograph(rng, event, place, surface, captures, veil)
    looks = look_back(seed, index, event, place, history)
    hidden, beyond = place.mean_by_building(pair.veil), place.mean_by_building(pair.outside.astype(np.float32))
    shown = np.flatnonzero(beyond < 0.5)
    return Scene(
        event=event,
        number=index // len(EVENTS),
        split="test" if held_out(index) else "train",
        images=pair.images,
        change=pair.change,
        cover=unforeseeable(pair, [] if veil is None else [veil, *(look.veil for look in looks)]),
        polygons=[np.asarray(place.buildings[i].polygon.exterior.coords) for i in shown],
        subtypes=[UNCLASSIFIED if hidden[i] > VEIL_HIDES else SUBTYPES[classes[i]] for i in shown],
        uids=[str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in shown],
        origin=(
            event.lon + rng.uniform(-REGION_DEG, REGION_DEG),
            event.lat + rng.uniform(-REGION_DEG, REGION_DEG),
        ),
        captures=captures,
        history=looks,
        post_again=photograph_again((seed, index), event, place, surface, pair.outside) if second_post else None,
    )


def held_out(index: int) -> bool:
    """Whether a scene is for the test: every fifth of an event, and of a disaster type."""
    turn, kind = divmod(index, len(DISASTER_TYPES))
    return (turn + kind) % 5 == 4
