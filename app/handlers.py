"""What the controls of the page call; everything that lasts is kept by the desk, or in the session by Gradio."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from app.captions import caption_of
from app.desk import Desk, said
from app.errors import AppError
from app.models import Model
from app.painting import layer_of
from app.pictures import check_upload, has_place, shown
from app.work import Made, Order
from data.examples.condition import condition_of
from data.schema import METADATA_FIELDS
from generate.sampling import Sampling

BEFORE_AFTER, AFTER_REAL = "pre and generated", "generated and real"
USUAL_SAMPLER = "unipc"  # few steps, and no noise of its own: word maps and edits work with it
Updates = tuple[Any, ...]  # one for each component of an event's outputs


class Handlers:
    """One for all visitors."""

    def __init__(self, desk: Desk) -> None:
        """Orders go to the desk."""
        self.desk = desk

    def generate(
        self,
        request: gr.Request,
        model: str,
        upload: str | None,
        real: str | None,
        pick: str | None,
        paint: bool,
        painting: Mapping[str, Any] | None,
        caption: str | None,
        seed: float,
        steps: float,
        sampler: str,
        samples: float,
        guidance: float,
        control: float,
        words: str | None,
        watermark: bool,
        use_metadata: bool,
        lon: float | None,
        lat: float | None,
        gsd: float | None,
        cloud_cover: float | None,
        year: float | None,
        month: float | None,
        day: float | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio hands it over
    ) -> Updates:
        """Make images: the button, and the endpoint `generate`."""

        def order() -> Order:
            natural = dict(zip(METADATA_FIELDS, (lon, lat, gsd, cloud_cover, year, month, day), strict=True))
            return Order(
                model=model,
                prompt=caption or "",
                upload=self._own(upload) if upload and not pick else None,
                real=self._own(real) if real and not pick else None,
                pick=pick or "",
                painted=((painting or {}).get("layers") or []) if paint else None,
                metadata=natural if use_metadata else None,
                words=(words or "").strip(),
                watermark=watermark,
                sampling=Sampling(
                    scheduler=sampler,  # type: ignore[arg-type]  # checked there
                    steps=whole(steps, "steps"),
                    guidance_scale=float(guidance),
                    control_scale=float(control),
                    samples=whole(samples, "images"),
                    seed=whole(seed, "seed"),
                ),
            )

        progress(0, desc="starting")
        made = self.desk.serve(visitor(request), order, lambda share: progress(share, desc="generating"))
        return self.results(made)

    def results(self, made: Made) -> Updates:
        """Swipe, word maps, which swipe, seeds, files, what to remember."""
        kinds = [BEFORE_AFTER, AFTER_REAL] if made.real else [BEFORE_AFTER]
        return (
            *self.swipe(made, 0, BEFORE_AFTER),
            gr.update(choices=kinds, value=BEFORE_AFTER, visible=len(kinds) > 1),
            gr.update(
                value=[(str(image), f"seed {seed}") for image, seed in zip(made.shown, made.seeds, strict=True)],
                selected_index=0,
                visible=len(made.seeds) > 1,
            ),
            gr.update(value=list(map(str, made.files)), visible=True),
            made,
            0,
        )

    def swipe(self, made: Made | None, at: int, kind: str) -> Updates:
        """The two images under the swipe, and the word maps, of one seed."""
        if made is None:
            return gr.skip(), gr.skip()
        pair = (made.shown[at], made.real) if kind == AFTER_REAL and made.real else (made.pre, made.shown[at])
        words = gr.update(value=str(made.words[at]) if made.words else None, visible=bool(made.words))
        return gr.update(value=tuple(map(str, pair)), label=kind, visible=True), words

    def choose_seed(self, made: Made | None, kind: str, chosen: gr.SelectData) -> Updates:
        """A click in the gallery."""
        return *self.swipe(made, chosen.index, kind), chosen.index

    def models(self) -> Any:  # noqa: ANN401  # an update
        """The choices that there are now."""
        names = self.desk.models.names()
        return gr.update(choices=names, value=names[0])

    def choose_model(self, name: str, sampler: str) -> Updates:
        """What is said of it, whether damage can be painted, whether it reads metadata, and the samplers that fit."""
        with said():
            model = self.desk.models.open(name)
            masked = _reads_mask(model)
            fitting = model.samplers
            chosen = next((one for one in (sampler, USUAL_SAMPLER) if one in fitting), fitting[0])
            return (
                described(model),
                gr.update(visible=masked),
                gr.update(visible=model.reads_metadata),
                gr.update(choices=fitting, value=chosen),
            )

    def look(self, upload: str | None) -> Updates:
        """What is said of an upload, a small copy, and the same to paint on; a pick is no longer meant."""
        if upload is None:
            return "", gr.update(value=None, visible=False), None, gr.skip()
        with said():
            path = self._own(upload)
            header, small = check_upload(path), shown(path)
        text = f"{header.width} x {header.height} px"
        if header.driver == "GTiff":
            text += ", on the ground" if has_place(path) else ", without coordinates: so will the result be"
        return text, gr.update(value=small, visible=True), canvas(small, None), ""

    def take(self, pick: str | None, name: str) -> Updates:
        """As `look`, for a picked patch, with its caption and damage."""
        if not pick:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        with said():
            patch, model = self.desk.picks.patch(pick), self.desk.models.open(name)
        before = patch.post if model.target == "pre" else patch.pre
        caption = patch.captions.get((model.trained.caption_style, model.target))
        text = f"{before.shape[1]} x {before.shape[0]} px, with its real {model.target} image"
        return text, gr.update(value=before, visible=True), canvas(before, patch.mask), caption or gr.skip()

    def write(self, name: str, event: str, disaster: str, severity: str, position: str, buildings: float | None) -> str:
        """The caption that the controls say."""
        with said():
            return caption_of(self.desk.models.open(name), event, disaster, severity, position, buildings)

    def cancel(self, request: gr.Request) -> None:
        """End what this visitor waits for."""
        self.desk.cancel(visitor(request))

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.desk.leave(visitor(request))

    def _own(self, path: str) -> Path:
        """An upload, which lies in the app's own folder."""
        found = Path(path).resolve()
        if not found.is_relative_to(self.desk.folder.resolve()):
            raise AppError(f"{found.name}: no upload of this page. Upload the file.")
        return found


def described(model: Model) -> str:
    """One line about the networks."""
    trained = model.trained
    if model.alone:
        return (
            f"No checkpoint: {trained.base} starts from the noised pre image (SDEdit) and was never shown a pair. "
            f"{trained.resolution} px windows, captions as in training: `{trained.caption_style}`."
        )
    metadata = ", metadata" if model.reads_metadata else ""
    return (
        f"{trained.trained} on {trained.base}, step {trained.step:,}, {trained.resolution} px windows, shown "
        f"{trained.condition}{metadata}; captions as in training: `{trained.caption_style}`."
    )


def canvas(image: Any, mask: Any) -> dict[str, Any]:  # noqa: ANN401  # arrays
    """What the editor shows: the image, and a layer of the damage that is known."""
    layers = [] if mask is None else [layer_of(mask)]
    return {"background": image, "layers": layers, "composite": None}


def whole(value: float | None, name: str) -> int:
    """A number of the page as a whole one."""
    if value is None or value != int(value):
        raise AppError(f"{name} is {value}; expected a whole number.")
    return int(value)


def visitor(request: gr.Request) -> str:
    """Which open page asks."""
    return str(request.session_hash)


def _reads_mask(model: Model) -> bool:
    return condition_of(model.trained.trained, model.trained.condition).with_mask is not None
