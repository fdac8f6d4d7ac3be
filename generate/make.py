"""Generate images into a folder: batches of patches, scenes one by one, split among processes, resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset.processes import Processes
from data.examples.place import whole
from data.progress import Bar
from generate.editing.base import depth
from generate.editing.methods import INVERTING, METHODS
from generate.generator import Generator
from generate.images.items import Item, batched
from generate.inputs import UNKNOWN, Inputs, Pixels
from generate.output import ImageFolder, check_names
from generate.processes import ALONE, everyone, wait_for_everyone
from generate.progress import progress, step_reporter
from generate.sampling import Sampling
from generate.scenes.scene import Windowing, generate_scene
from generate.scenes.words import thumbnail
from generate.stamp import write_png
from generate.watermark import marked, tile_side
from generate.words.maps import check_folders, listening, maps_for, means, write_maps, written


@dataclass(frozen=True)
class Task:
    """One image to generate."""

    item: Item
    sample: int
    seed: int
    file: str
    made: dict[str, Any]  # how: the line of the manifest

    @property
    def words(self) -> list[str]:
        """That get maps."""
        return list(self.made.get("word_maps", []))


def tasks_of(
    items: Sequence[Item],
    sampling: Sampling,
    facts: Mapping[str, Any],
    method: str = "controlnet",
    words: Mapping[str, Sequence[str]] | None = None,
) -> list[Task]:
    """Every image of a run.

    Args:
        items: what to generate.
        sampling: its samples and seed.
        facts: what all images share: checkpoint, sampling.
        method: one of METHODS.
        words: prompt -> its words that get maps; None = there are none.

    Raises:
        GenerateError: two images would have the same file, or an invalid file name.
    """
    facts = {"method": method, **facts}
    tasks = []
    for item in items:
        ending = ".tif" if item.scene and item.scene.driver == "GTiff" else ".png"
        origin: dict[str, Any] = item.origin()
        if method in INVERTING:
            origin = {"source_prompt": str(item.source_prompt), **origin}
        if words is not None:
            origin = {**origin, "word_maps": words[item.prompt]}
        for sample in range(sampling.samples):
            seed = sampling.image_seed(item.key, sample)
            made = {"patch_id": item.name, "prompt": item.prompt, "seed": seed, "sample": sample, **origin, **facts}
            tasks.append(Task(item, sample, seed, file_name(item.name, sample, ending), made))
    check_names(task.file for task in tasks)
    if words is not None:
        check_folders(task.file for task in tasks)
    return tasks


def file_name(name: str, sample: int, ending: str = ".png") -> str:
    """`NAME.png` for the first sample, `NAME_s1.png` for the second."""
    return f"{name}{f'_s{sample}' if sample else ''}{ending}"


def make_images(
    tasks: Sequence[Task],
    folder: Path,
    load: Callable[[], Generator],
    sampling: Sampling,
    windows: Windowing,
    *,
    watermark: bool,
    overwrite: bool,
    what: str = "generate",
    on_share: Callable[[float], object] = lambda share: None,
) -> None:
    """Generate the missing images.

    Args:
        tasks: all images of the run, in the same order in every process.
        folder: to write to.
        load: returns the networks; not called if nothing is left to do.
        sampling: how images are sampled.
        windows: how scenes are cut.
        watermark: overlay the word SYNTHETIC on every image.
        overwrite: replace images made with other settings.
        what: label of the progress bar.
        on_share: called in every step with the share of the work that is done, 0..1; what it raises ends the run.
    """
    team = everyone()
    with ImageFolder(folder, {task.file: task.made for task in tasks}, overwrite) as images:
        todo = [task for task in tasks if task.file not in images.done or not written(folder, task.file, task.words)]
        if images.done and team.is_main:
            print(f"{folder}: {len(images.done)} of {len(tasks)} images exist already.")
        together = _large_scenes(todo, windows, sampling.batch_size, team.number)
        mine = [task for task in todo if task not in together][team.index :: team.number]
        if not (mine or together):
            return
        generator = load()
        total = len(mine) + len(together)
        with progress(total, what, "image") as bar:

            def on_part(images: int, share: float) -> None:
                on_share((bar.n + images * share) / total)

            for batch in batched((task for task in mine if task.item.read), sampling.batch_size):
                _make_batch(generator, batch, images, sampling, watermark, bar, on_part)
            for task in (task for task in mine if task.item.scene):
                _make_scene(generator, task, images, sampling, windows, watermark, bar, ALONE, on_part)
            if together:
                wait_for_everyone()
            for task in together:
                _make_scene(generator, task, images, sampling, windows, watermark, bar, team, on_part)


def _large_scenes(todo: Sequence[Task], windows: Windowing, batch_size: int, processes: int) -> list[Task]:
    """Scenes large enough for all processes, or too few for one process each: generated jointly."""
    scenes = [(task, task.item.scene) for task in todo if task.item.scene]
    return [
        task
        for task, header in scenes
        # The maps of words add up where their windows were predicted.
        if not task.words
        and 1 < processes
        and (len(scenes) < processes or len(windows.grid(header, 1)) >= batch_size * processes)
    ]


def _make_batch(
    generator: Generator,
    tasks: Sequence[Task],
    images: ImageFolder,
    sampling: Sampling,
    watermark: bool,
    bar: Bar,
    on_part: Callable[[int, float], None],
) -> None:
    pre = [_read(task) for task in tasks]
    inputs = Inputs(
        pre=pre,
        prompts=[task.item.prompt for task in tasks],
        seeds=[task.seed for task in tasks],
        buildings=[task.item.buildings() if task.item.buildings else None for task in tasks],
        source_prompts=[task.item.source_prompt for task in tasks],
        metadata=[task.item.metadata or UNKNOWN for task in tasks],
        places=[task.item.place or whole(*image.shape[:2]) for task, image in zip(tasks, pre, strict=True)],
    )
    method = METHODS[tasks[0].made["method"]]
    size_px, words = inputs.pre[0].shape[:2], [task.words for task in tasks]
    found = maps_for(generator, inputs.prompts, words, size_px, guided=sampling.guidance_scale > 1)
    show_step = step_reporter(bar, sampling.steps)

    def on_step(done: int) -> None:
        show_step(done)
        on_part(len(tasks), done / sampling.steps)

    with listening(generator, found):
        made = method(generator, inputs, sampling, on_step)
    maps = means(found) if found else {}
    for row, (task, pixels) in enumerate(zip(tasks, made, strict=True)):
        if watermark:
            pixels = marked(pixels, 0, tile_side(*pixels.shape[:2]))
        if task.words:
            of_image = {network: mean[row] for network, mean in maps.items()}
            write_maps(images.folder, task.file, task.words, of_image, size_px, generator.cell_px, pixels, task.made)
        images.add(task.file, partial(write_png, pixels=pixels, made=task.made))
        bar.update()


def _make_scene(
    generator: Generator,
    task: Task,
    images: ImageFolder,
    sampling: Sampling,
    windows: Windowing,
    watermark: bool,
    bar: Bar,
    team: Processes,
    on_part: Callable[[int, float], None],
) -> None:
    header = task.item.scene
    assert header
    first_step = sampling.steps - depth(sampling.steps) if task.made["method"] == "sdedit" else 0
    total = len(windows.grid(header, generator.cell_px)) * (sampling.steps - first_step)
    with progress(total, header.path.name, "window") as windows_bar:

        def on_window(done: int) -> None:
            windows_bar.update(done)
            on_part(1, windows_bar.n / total)

        def write(path: Path) -> None:
            maps = generate_scene(
                generator,
                header,
                windows,
                task.item.prompt,
                task.words,
                task.seed,
                sampling,
                path,
                task.made,
                first_step=first_step,
                metadata=task.item.metadata,
                watermark=watermark,
                on_window=on_window,
                team=team,
            )
            if maps:
                size_px, cell_px = (header.height, header.width), generator.cell_px * windows.factor
                write_maps(images.folder, task.file, task.words, maps, size_px, cell_px, thumbnail(path), task.made)

        if team.is_main:
            images.add(task.file, write)
        else:
            write(images.partial(task.file))
    bar.update()


def _read(task: Task) -> Pixels:
    assert task.item.read
    return np.asarray(task.item.read())
