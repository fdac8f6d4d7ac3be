"""The trained weights of a denoiser as folders for diffusers and peft; conv_in/ has the weights of added channels.

A folder holds only what was trained, and what its network needs to load. `ema/` of a checkpoint has the same layout.
"""

from collections.abc import Mapping
from pathlib import Path

from diffusers import T2IAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.conditioners.controlnet_lora import read_controlnet_lora, save_controlnet_lora
from models.denoiser import PRE_CONV, Denoiser, has_lora
from models.lora import load_lora, save_lora

CONTROLNET, CONTROLNET_LORA, T2I_ADAPTER, LORA, CONV_IN = (
    "controlnet",
    "controlnet_lora",
    "t2i_adapter",
    "lora",
    "conv_in",
)
FILE = "diffusion_pytorch_model.safetensors"


def save_trained(folder: Path, denoiser: Denoiser, weights: Mapping[str, Tensor]) -> None:
    """Write weights, named as in `denoiser.trained()`, each part into its folder."""
    weights = {name: weight.detach().contiguous() for name, weight in weights.items()}
    controlnet, unet = (_under(prefix, weights) for prefix in ("controlnet.", "unet."))
    if denoiser.controlnet is not None and has_lora(denoiser.controlnet):
        save_controlnet_lora(folder / CONTROLNET_LORA, denoiser.controlnet, controlnet)
    elif denoiser.controlnet is not None:
        beside = folder / (T2I_ADAPTER if isinstance(denoiser.controlnet, T2IAdapter) else CONTROLNET)
        # Not by save_pretrained, which saves only the weights that are in the network.
        denoiser.controlnet.save_config(beside)
        # Also parameters that nothing uses and tables of positions: a folder without them would not load.
        whole, named = denoiser.controlnet.state_dict().keys(), denoiser.controlnet.named_parameters()
        rest = [*named, *denoiser.controlnet.named_buffers()]
        controlnet |= {name: x for name, x in rest if name in whole and not x.requires_grad}
        save_file(controlnet, beside / FILE, metadata={"format": "pt"})
    if lora := {name: weight for name, weight in unet.items() if "lora_" in name}:
        save_lora(folder / LORA, denoiser.family, denoiser.unet, lora)
    if PRE_CONV in weights:
        (folder / CONV_IN).mkdir(parents=True)
        save_file({"weight": weights[PRE_CONV]}, folder / CONV_IN / FILE)


def load_trained(folder: Path) -> dict[str, Tensor]:
    """What `save_trained` wrote, on the CPU; of some ControlNets also what was not trained."""
    weights: dict[str, Tensor] = {}
    for part in (CONTROLNET, T2I_ADAPTER):
        if (folder / part).is_dir():
            weights |= {f"controlnet.{name}": x for name, x in load_file(folder / part / FILE).items()}
    if (folder / CONTROLNET_LORA).is_dir():
        weights |= {f"controlnet.{name}": x for name, x in read_controlnet_lora(folder / CONTROLNET_LORA).items()}
    if (folder / LORA).is_dir():
        weights |= {f"unet.{name}": x for name, x in load_lora(folder / LORA).items()}
    if (folder / CONV_IN).is_dir():
        weights[PRE_CONV] = load_file(folder / CONV_IN / FILE)["weight"]
    return weights


def weights_in(checkpoint: Path) -> Path:
    """The folder of a checkpoint whose weights are used: the averaged ones if there are any."""
    averaged = checkpoint / "ema"
    return averaged if averaged.is_dir() else checkpoint


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
