"""Methods that make a post image from a pre image, with one interface, so that `evaluate` runs each by name."""

from collections.abc import Callable, Sequence

from generate.checkpoint import Checkpoint
from generate.editing.base import depth, inpaint, instruct, sdedit
from generate.editing.inversion import MAP_STRENGTH, diffedit, invert
from generate.generator import Generator, generate_images, load_generator, load_untrained
from generate.images.items import Item
from generate.inputs import Inputs, Pixels
from generate.sampling import Sampling
from models import Base

# How any method is called: the last argument is called with the number of finished steps after each.
Method = Callable[[Generator, Inputs, Sampling, Callable[[int], None]], Pixels]


def controlnet(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """The trained ControlNet; with control_scale 0 the base alone."""
    return generate_images(
        generator, inputs.pre, inputs.prompts, inputs.seeds, sampling, on_step, inputs.metadata, inputs.places
    )


METHODS: dict[str, Method] = {
    "controlnet": controlnet,
    "sdedit": sdedit,
    "inpaint": inpaint,
    "invert": invert,
    "diffedit": diffedit,
    "instruct": instruct,
}
INVERTING = ("invert", "diffedit")  # they need a caption of the pre image
SOLVERS = (
    "ddim",
    "unipc",
    "dpm++",
    "flow-euler",
)  # one prediction a step, no further noise: a process may begin in its middle
INVERTIBLE = ("epsilon", "sample", "v_prediction")  # supported by DDIMInverseScheduler


def networks_of(method: str) -> str:
    """What a method loads: the whole `checkpoint`, its `base` alone, or another model, `instruct`."""
    return {"controlnet": "checkpoint", "instruct": "instruct"}.get(method, "base")


def load_networks(
    networks: str, trained: Checkpoint, parts: Base, instruct_parts: Base | None, sampling: Sampling
) -> Generator:
    """Load the networks named by `networks_of`.

    Args:
        networks: checkpoint, base or instruct.
        trained: the checkpoint; its number of text chunks applies to all.
        parts: its base.
        instruct_parts: the InstructPix2Pix model.
        sampling: its scheduler and precision.
    """
    if networks == "checkpoint":
        return load_generator(trained, parts, sampling)
    if networks == "instruct":
        assert instruct_parts
        return load_untrained(instruct_parts, sampling, trained.text_chunks)
    return load_untrained(parts, sampling, trained.text_chunks)


def misfit(
    method: str, items: Sequence[Item], parts: Base, instruct_parts: Base | None, sampling: Sampling
) -> str | None:
    """Why a method cannot be applied to this base and these items; None if it can. Reads no weights."""
    if method == "inpaint" and any(item.buildings is None or item.buildings() is None for item in items):
        return "it regenerates the buildings, but some patches have no damage mask that locates them"
    scheduler = sampling.scheduler or parts.family.samplers[0]
    if method != "controlnet" and scheduler not in SOLVERS:
        return f"it is not made with the scheduler {scheduler}, only with {', '.join(SOLVERS)}"
    if method in ("sdedit", *INVERTING) and depth(sampling.steps, MAP_STRENGTH) < 1:
        return f"it starts from a partly noised image, for which {sampling.steps} step is too few"
    if method in INVERTING:
        return _not_invertible(items, parts, scheduler)
    if method == "instruct" and instruct_parts is None:
        return "its weights were not named (--instruct-pix2pix FOLDER, e.g. timbrooks/instruct-pix2pix from the hub)"
    return None


def _not_invertible(items: Sequence[Item], parts: Base, scheduler: str) -> str | None:
    if scheduler != "ddim":
        return f"it inverts DDIM, but the scheduler is {scheduler}"
    kind = parts.load_noise_schedule().predicts
    if kind not in INVERTIBLE:
        return f"{parts.name} predicts {kind}; DDIM inversion needs one of {', '.join(INVERTIBLE)}"
    if any(item.source_prompt is None for item in items):
        return "it needs captions of the pre images, but some patches have none of this style"
    return None
