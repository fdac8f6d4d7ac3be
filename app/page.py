"""The page: what is where, and which control calls what."""

from pathlib import Path

import gradio as gr

from app.desk import Desk
from app.errors import AppError
from app.handlers import BEFORE_AFTER, USUAL_SAMPLER, Handlers
from app.models import Models
from app.painting import COLOURS, NAMES
from app.picks import Picks
from app.pictures import MOST_BYTES
from app.work import MOST_SAMPLES, MOST_STEPS
from data.captions.imagined import POSITIONS, SEVERITIES
from data.sources.events import CAUSES, EVENTS
from generate.sampling import SCHEDULERS

Users = list[tuple[str, str]] | None
MOST_WAITING = 16  # orders in the queue
CACHE_S = 3600  # how long files are kept for a page that shows them
FILE_TYPES = [".png", ".jpg", ".jpeg", ".tif", ".tiff"]
SAVING = ["download", "fullscreen"]
NOT_SAID = ("not said", "")
CSS = """
.gradio-container { max-width: 1320px !important; margin: auto; }
#title h1 { font-size: 1.4rem; margin: 0 0 2px; }
#title p { margin: 0; opacity: 0.75; }
#seeds .grid-container { grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)) !important; }
#upload, #real { overflow-x: hidden; }
#preview img { width: 100%; height: 100%; object-fit: contain; }
"""


def launched(
    models: Models,
    picks: Picks,
    folder: Path,
    *,
    host: str,
    port: int,
    users: list[tuple[str, str]] | None,
    share: bool,
) -> gr.Blocks:
    """Open the page, and return at once.

    Args:
        models: that can be chosen.
        picks: that can be picked.
        folder: for everything that is written.
        host: to listen on.
        port: to listen on.
        users: names and passwords; None = everybody may enter.
        share: open it to the internet too.

    Raises:
        AppError: the port is in use.
    """
    blocks = page(Desk(models, picks, folder))
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            auth=users,
            share=share,
            max_file_size=MOST_BYTES,
            theme=gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=CSS,
            footer_links=["api"],
            ssr_mode=False,
            run_history=False,
            quiet=True,
            prevent_thread_lock=True,
            _frontend=False,  # else it asks itself for the page first, and gives up after three seconds
        )
    except OSError as error:
        raise AppError(f"port {port} of {host} cannot be used ({error}). Choose another with --port.") from None
    return blocks


def page(desk: Desk) -> gr.Blocks:
    """The page, ready to be launched."""
    handlers, models = Handlers(desk), desk.models.names()
    with gr.Blocks(title="pre2post", analytics_enabled=False, delete_cache=(CACHE_S, CACHE_S)) as blocks:
        gr.Markdown(
            "# pre2post\nA satellite image before a disaster, and what it could look like after it. **Every image made "
            "here is synthetic** and says so in its metadata.",
            elem_id="title",
        )
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                inputs = _inputs(blocks, handlers, models)
            with gr.Column(scale=6, min_width=320):
                _outputs(handlers, inputs)
        blocks.unload(handlers.leave)
    blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1)
    return blocks


def _inputs(blocks: gr.Blocks, handlers: Handlers, models: list[str]) -> list[gr.components.Component]:
    """The left-hand side; returns what `generate` takes, in its order."""
    picks = handlers.desk.picks.names()
    model = gr.Dropdown(models, value=models[0], label="Checkpoint", elem_id="model")
    about = gr.Markdown(elem_classes="about")
    with gr.Group():
        with gr.Row():
            upload = gr.File(
                label="Pre-disaster image", file_types=FILE_TYPES, height=150, min_width=200, elem_id="upload"
            )
            real = gr.File(
                label="Real post image, if any", file_types=FILE_TYPES, height=150, min_width=200, elem_id="real"
            )
        pick = gr.Dropdown(
            [("none", ""), *picks], value="", label="Or a patch of the dataset", visible=bool(picks), elem_id="pick"
        )
    note = gr.Markdown()
    preview = gr.Image(
        label="Pre-disaster image", interactive=False, visible=False, height=240, buttons=[], elem_id="preview"
    )
    with gr.Group(visible=False) as damage:
        paint = gr.Checkbox(label="Paint the damage that is to appear", value=False, elem_id="paint")
        painting = gr.ImageEditor(
            label=f"Colours: {', '.join(NAMES)}",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(default_size=24, colors=list(COLOURS), default_color=COLOURS[-1], color_mode="fixed"),
            format="png",
            visible=False,
            elem_id="painting",
        )
    said = _caption_controls()
    caption = gr.Textbox(label="Caption: written by the controls above, or by you", lines=3, elem_id="caption")
    sampling, sampler = _sampling_controls()
    use_metadata, metadata, numbers = _metadata_controls()

    blocks.load(handlers.models, None, model, api_visibility="private", show_progress="hidden")
    chosen = gr.on(
        [blocks.load, model.change],
        handlers.choose_model,
        [model, sampler],
        [about, damage, metadata, sampler],
        api_visibility="private",
        show_progress="hidden",
    )
    chosen.then(handlers.write, [model, *said], caption, api_visibility="private", show_progress="hidden")
    for control in said:
        control.change(handlers.write, [model, *said], caption, api_visibility="private", show_progress="hidden")
    upload.change(handlers.look, upload, [note, preview, painting, pick], api_visibility="private")
    pick.input(handlers.take, [pick, model], [note, preview, painting, caption], api_visibility="private")
    paint.change(
        lambda on: (gr.update(visible=on), gr.update(visible=not on)),
        paint,
        [painting, preview],
        api_visibility="private",
        show_progress="hidden",
    )
    return [model, upload, real, pick, paint, painting, caption, *sampling, use_metadata, *numbers]


def _caption_controls() -> list[gr.components.Component]:
    with gr.Accordion("What happened", open=True):
        with gr.Row():
            event = gr.Dropdown([NOT_SAID, *sorted(EVENTS)], value="", label="Event", min_width=200)
            disaster = gr.Dropdown([NOT_SAID, *CAUSES], value="flooding", label="Disaster", min_width=200)
        with gr.Row():
            severity = gr.Dropdown([NOT_SAID, *SEVERITIES], value="severe", label="Severity", min_width=110)
            position = gr.Dropdown([NOT_SAID, *POSITIONS], value="", label="Where", min_width=110)
            buildings = gr.Number(6, label="Buildings", minimum=0, maximum=10_000, precision=0, min_width=110)
    return [event, disaster, severity, position, buildings]


def _sampling_controls() -> tuple[list[gr.components.Component], gr.Dropdown]:
    """All of them, and which of them is the sampler."""
    with gr.Accordion("How it is sampled", open=False):
        with gr.Row():
            seed = gr.Number(0, label="Seed", minimum=0, precision=0, min_width=110, elem_id="seed")
            samples = gr.Slider(1, MOST_SAMPLES, value=1, step=1, label="Images", min_width=160, elem_id="samples")
        with gr.Row():
            sampler = gr.Dropdown(
                list(SCHEDULERS), value=USUAL_SAMPLER, label="Sampler", min_width=110, elem_id="sampler"
            )
            steps = gr.Slider(1, MOST_STEPS, value=20, step=1, label="Steps", min_width=160, elem_id="steps")
        with gr.Row():
            guidance = gr.Slider(
                1, 15, value=1, step=0.5, label="Guidance, 1 = none", min_width=160, elem_id="guidance"
            )
            control = gr.Slider(0, 2, value=1, step=0.1, label="Trained weights", min_width=160)
        words = gr.Textbox(label="Word maps: words of the caption, separated by commas", elem_id="words_asked")
        watermark = gr.Checkbox(label="Write SYNTHETIC across the image", value=False)
    return [seed, steps, sampler, samples, guidance, control, words, watermark], sampler


def _metadata_controls() -> tuple[gr.Checkbox, gr.Group, list[gr.components.Component]]:
    with gr.Group(visible=False) as group:
        use = gr.Checkbox(label="Tell the networks the metadata of the new image", value=False)
        with gr.Row():
            lon = gr.Slider(-180, 180, value=0, label="Longitude", min_width=160)
            lat = gr.Slider(-90, 90, value=0, label="Latitude", min_width=160)
        with gr.Row():
            gsd = gr.Slider(0.1, 30, value=0.5, label="Metres per pixel", min_width=160)
            cloud = gr.Slider(0, 1, value=0, label="Cloud, 0 to 1", min_width=160)
        with gr.Row():
            year = gr.Slider(1980, 2100, value=2018, step=1, label="Year", min_width=100)
            month = gr.Slider(1, 12, value=6, step=1, label="Month", min_width=100)
            day = gr.Slider(1, 31, value=15, step=1, label="Day", min_width=100)
    return use, group, [lon, lat, gsd, cloud, year, month, day]


def _outputs(handlers: Handlers, inputs: list[gr.components.Component]) -> None:
    """The right-hand side."""
    with gr.Row():
        start = gr.Button("Generate", variant="primary", elem_id="generate")
        stop = gr.Button("Cancel", elem_id="cancel", min_width=80, scale=0)
    swipe = gr.ImageSlider(label=BEFORE_AFTER, type="filepath", interactive=False, elem_id="swipe", max_height=640)
    kind = gr.Radio([BEFORE_AFTER], value=BEFORE_AFTER, label="Swipe between", visible=False)
    gallery = gr.Gallery(label="Seeds", elem_id="seeds", columns=4, visible=False, allow_preview=False, buttons=[])
    words = gr.Image(label="Word maps", visible=False, interactive=False, elem_id="words", buttons=SAVING)
    files = gr.File(label="Download", visible=False, interactive=False, file_count="multiple", elem_id="files")
    made, at = gr.State(), gr.State(0)
    job = start.click(
        handlers.generate,
        inputs,
        [swipe, words, kind, gallery, files, made, at],
        api_name="generate",
        concurrency_id="networks",
        concurrency_limit=1,
        show_progress_on=swipe,
    )
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    stop.click(handlers.cancel, cancels=[job], queue=False, **quiet)
    kind.input(handlers.swipe, [made, at, kind], [swipe, words], **quiet)
    gallery.select(handlers.choose_seed, [made, kind], [swipe, words, at], **quiet)
