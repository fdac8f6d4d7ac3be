"""Ways to make a post image of a pre image, behind one interface, so that `evaluate` runs each by name."""

from collections.abc import Callable

from generate.editing import inpaint, sdedit
from generate.inputs import Inputs, Method
from generate.pipeline import Pipeline, Pixels, generate_images
from generate.sampling import Sampling


def controlnet(pipeline: Pipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """The trained ControlNet; with control_scale 0 the base alone."""
    return generate_images(
        pipeline, inputs.pre, inputs.prompts, inputs.seeds, sampling, on_step, metadata=inputs.metadata
    )


METHODS: dict[str, Method] = {"controlnet": controlnet, "sdedit": sdedit, "inpaint": inpaint}
