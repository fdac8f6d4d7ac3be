"""The model card of a saved satellite pipeline: README.md, so that others can use the folder."""

from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel

from models.diffusionsat.embedding import takes_metadata

CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
tags: [satellite, diffusionsat, metadata]
---

# {title}

Generates satellite images of {resolution} px from a prompt{metadata}{control}.

```python
from models.diffusionsat.pipeline import SatPipeline  # from a clone of pre2post

pipeline = SatPipeline.from_pretrained("this folder")
pipeline(
    "a satellite image of a harbour",
{example}    num_inference_steps=50,
    guidance_scale=7.5,
).images[0].save("harbour.png")
```

{units}| part | class |
|---|---|
{parts}

The noise schedule predicts `{prediction}`. Every file is safetensors, JSON or text.
"""
METADATA = """Metadata are in natural units: degrees east and north, metres per pixel of the generated image, cloud
fraction 0..1, calendar date. Omitted fields are unknown, which is embedded {null}.

"""
NULLS = {"zero": "as 0 (as DiffusionSat was trained)", "learned": "by a learned vector"}
EXAMPLE = (
    '    metadata={"lon": 4.05, "lat": 51.95, "gsd": 0.5, "cloud_cover": 0.0, "year": 2017, "month": 9, "day": 1},\n'
)
SHOWN = '    image=Image.open("earlier.png"),  # conditioning image; several: see models/diffusionsat/conditions.py\n'


def write_card(
    folder: Path,
    unet: UNet2DConditionModel,
    vae_scale_factor: int,
    scheduler: Any,  # noqa: ANN401 (diffusers has no common class)
    controlnet: Any = None,  # noqa: ANN401 (one, several or none)
) -> None:
    """Write README.md unless the folder has one; a user's own is kept."""
    path = folder / "README.md"
    if path.exists():
        return
    conditioned = [
        net for net in (unet, *getattr(controlnet, "nets", [controlnet])) if net is not None and takes_metadata(net)
    ]
    parts = {"unet": unet, "scheduler": scheduler, "controlnet": controlnet}
    path.write_text(
        CARD.format(
            title=folder.name,
            resolution=unet.config.sample_size * vae_scale_factor,
            metadata=" and metadata" if conditioned else "",
            control=", and from the conditioning images of its ControlNet (`image=`, `cond_metadata=`)"
            if controlnet
            else "",
            example=(EXAMPLE if conditioned else "") + (SHOWN if controlnet else ""),
            units=METADATA.format(null=NULLS[conditioned[0].config.null_metadata]) if conditioned else "",
            parts="\n".join(
                f"| `{name}/` | {type(part).__name__} |" for name, part in parts.items() if part is not None
            ),
            prediction=scheduler.config.get("prediction_type", "epsilon"),
        )
    )
