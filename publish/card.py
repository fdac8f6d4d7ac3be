"""The model card: what it is, how to load it, what it was trained on, how it was measured, under which licence."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id

from generate.checkpoint import Checkpoint
from generate.stamp import SYNTHETIC
from publish.measured import Measured
from publish.origin import BASE_NOTE, TINY, TINY_NOTE, Origin
from publish.snippet import Use, code

WHAT = {
    "controlnet": "A zero-convolution ControlNet",
    "controlnet-lora": "A zero-convolution ControlNet, whose copied encoder is frozen but for low-rank updates,",
    "t2i-adapter": "A T2I-Adapter",
    "t2i-adapter-light": "A light T2I-Adapter",
    "lora": "A LoRA",
    "controlnet+lora": "A zero-convolution ControlNet and a LoRA",
    "lora+concat": "A LoRA with the latents of the conditioning image as further input channels",
}
INSIDE = (
    "Inside the change: in simulated scenes the pixels that changed, on xBD the damaged buildings. Outside: what "
    "certainly did not change, on xBD all but damaged buildings."
)
PICTURES = "pictures.png"


def model_card(use: Use, origin: Origin, measured: Measured | None, *, pictures: bool) -> ModelCard:
    """The card; its front matter is what the hub's search reads."""
    ships = use.checkpoint.base == TINY
    data = ModelCardData(
        license=origin.licence,
        library_name="diffusers",
        pipeline_tag="image-to-image",
        base_model=use.base if is_hub_id(use.base) and not ships else None,
        tags=["remote-sensing", "disaster", "pre2post", *use.checkpoint.trained.split("+")],
        model_name=use.weights.rpartition("/")[2] if measured else None,
        eval_results=_eval_results(measured, origin) if measured else None,
        ignore_metadata_errors=False,
    )
    parts = [
        f"# {use.weights.rpartition('/')[2]}",
        _what(use.checkpoint, use.base),
        f"## Use\n\n{_use(use)}",
        f"## Training data\n\n{_training(use.checkpoint, origin)}",
        f"## Measured\n\n{_measured(measured)}",
        *(
            [f"## Pictures\n\nPre, generated, real post.\n\n![pre, generated, real post]({PICTURES})"]
            if pictures
            else []
        ),
        f"## Licence\n\n{origin.note}\n\n{TINY_NOTE if ships else BASE_NOTE}",
        f"## Limits\n\n{SYNTHETIC} It is a plausible aftermath, not evidence: do not use one to assess real damage.",
    ]
    body = "\n\n".join(parts)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the hub: ORGANISATION/NAME."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def _what(checkpoint: Checkpoint, base: str) -> str:
    source, target = ("post", "pre") if checkpoint.direction == "past" else ("pre", "post")
    seen = "" if checkpoint.trained == "lora" else f" from the {source}-disaster image of a place"
    return (
        f"{WHAT[checkpoint.trained]} on the frozen base `{base}`, trained with pre2post for {checkpoint.step:,} steps. "
        f"It makes {target}-disaster satellite images{seen} and a caption."
    )


def _use(use: Use) -> str:
    said = (
        "With diffusers alone, the image of `pre2post generate` from the same folder, caption and seed:"
        if use.stock
        else "diffusers alone has no pipeline for this kind; pre2post has:"
    )
    sampler = f"{use.scheduler}, {use.sampling.steps} steps, guidance {use.sampling.guidance_scale:g}"
    return (
        f"{said}\n\n{code(use)}\n\nThe sampler it needs is in `scheduler/` ({sampler}"
        f"{'; noise schedule rescaled to zero terminal SNR' if use.checkpoint.zero_terminal_snr else ''}): another "
        "noise schedule gives other images. Whole scenes, many patches, other solvers: "
        "`pre2post generate --checkpoint FOLDER`."
    )


def _training(checkpoint: Checkpoint, origin: Origin) -> str:
    left_out = ", ".join(checkpoint.trained_on["leave_out"])
    patch = checkpoint.patch_px or checkpoint.resolution
    rows = [
        ("data", f"{origin.name}, split {checkpoint.trained_on['split']}"),
        ("events", ", ".join(origin.events) or "not recorded"),
        *([("events left out", left_out)] if left_out else []),
        ("images", f"{checkpoint.resolution} x {checkpoint.resolution} px, from patches of {patch} px"),
        ("captions", f"style `{checkpoint.caption_style}`, {checkpoint.text_chunks} x 77 tokens"),
        ("condition", "none" if checkpoint.trained == "lora" else checkpoint.condition),
        ("direction", checkpoint.direction),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _measured(measured: Measured | None) -> str:
    if measured is None:
        return "Not measured. `pre2post evaluate` does it, `pre2post publish --results` puts the numbers here."
    heads, *rows = measured.table()
    found = measured.results
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n\n{note}" for note in found["notes"])
    where = f"Split {found['split']}, {len(found['per_patch']):,} patches. {found['intervals']}"
    return f"{table}\n\n{where} {INSIDE} MSE, LPIPS, FID and KID: lower is better.{notes}"


def _eval_results(measured: Measured, origin: Origin) -> list[EvalResult]:
    name = f"{origin.name}, split {measured.results['split']}"
    return [
        EvalResult(
            task_type="image-to-image",
            dataset_type="xbd" if origin.name == "xBD" else "other",
            dataset_name=name,
            metric_type=metric.lower(),
            metric_name=f"{metric} {region}",
            metric_value=value,
        )
        for metric, region, value in measured.values()
    ]
