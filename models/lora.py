"""LoRA on the frozen UNet, by peft, in the folder format that diffusers loads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig
from pydantic import Field, TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import TypedDict

from data.documents import parse_document
from models.frozen import frozen

FILE = "pytorch_lora_weights.safetensors"  # what `load_lora_weights` looks for
KOHYA = "kohya.safetensors"  # the same update for tools that are not built on diffusers
ADAPTER = "default"
METADATA = "lora_adapter_metadata"  # in the file's header, as diffusers writes it
Alpha = Annotated[float, Field(gt=0, le=1e6)]
Settings = TypedDict("Settings", {"unet.r": int, "unet.lora_alpha": Alpha})
SETTINGS = TypeAdapter(Settings)


def add_lora(unet: UNet2DConditionModel, *, rank: int, alpha: int, targets: Sequence[str], seed: int) -> None:
    """Add trainable low-rank updates; the second factor starts at zero (Hu et al. 2022, section 4.1).

    Args:
        unet: frozen; stays so.
        rank: of the update.
        alpha: the update is scaled by alpha / rank.
        targets: ends of the names of the layers, e.g. `to_q`.
        seed: of the first factors.

    Raises:
        ValueError: no layer of the UNet has such a name.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights="gaussian")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(config, adapter_name=ADAPTER)
    for name, weight in unet.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()  # trained weights are float32 whatever the base is in


def save_lora(folder: Path, unet: UNet2DConditionModel, weights: Mapping[str, Tensor]) -> None:
    """Write a folder for `pipeline.load_lora_weights`; `weights` by their names in the UNet.

    diffusers reads alpha in its file's header and takes no file with other tensors than the factors. ComfyUI, web UIs
    and kohya's scripts look for a tensor `LAYER.alpha`, and assume alpha = rank without it: KOHYA is for them.
    """
    metadata = unet.peft_config[ADAPTER].to_dict()
    layers = {name.replace(f".{ADAPTER}.weight", ".weight"): weight for name, weight in weights.items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata)
    rank, alpha = metadata["r"], metadata["lora_alpha"]
    kohya = convert_state_dict_to_kohya({f"unet.{name}": weight for name, weight in layers.items()})
    kohya |= {name: torch.tensor(float(alpha)) for name in kohya if name.endswith(".alpha")}
    save_file(kohya, folder / KOHYA, metadata={"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)})


def load_lora(folder: Path) -> dict[str, Tensor]:
    """What `save_lora` wrote, by the names in the UNet."""
    saved = load_file(folder / FILE)
    return {name.removeprefix("unet.").replace(".weight", f".{ADAPTER}.weight"): x for name, x in saved.items()}


def check_lora(folder: Path, unet: UNet2DConditionModel) -> None:
    """Stop unless every factor belongs to a layer of the UNet: diffusers skips others with only a warning.

    Raises:
        ValueError: naming the factor, or what is wrong with rank and alpha.
    """
    with safe_open(folder / FILE, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        header = (file.metadata() or {}).get(METADATA)
    layers = dict(unet.named_modules())
    ranks = set()
    for name, shape in shapes.items():
        layer, _, factor = name.removeprefix("unet.").removesuffix(".weight").rpartition(".")
        down = factor == "lora_A"
        other = name.replace("lora_A", "lora_B") if down else name.replace("lora_B", "lora_A")
        weight = getattr(layers.get(layer), "weight", None)
        if weight is None or other not in shapes or len(shape) != weight.ndim or shape[down] != weight.shape[down]:
            raise ValueError(f"{FILE}: {name} of shape {shape} fits no layer of the base's UNet")
        ranks.add(shape[not down])
    if len(ranks) != 1:
        raise ValueError(f"{FILE}: factors of ranks {sorted(ranks)}, expected one")
    if header is not None and (rank := parse_document(header, FILE, SETTINGS, "", ValueError)["unet.r"]) not in ranks:
        raise ValueError(f"{FILE}: its header says rank {rank}, but its factors are of rank {ranks.pop()}")


def load_adapter(folder: Path, unet: UNet2DConditionModel) -> None:
    """Put a saved LoRA into the UNet, frozen.

    Raises:
        ValueError: as `check_lora`.
    """
    check_lora(folder, unet)
    unet.load_lora_adapter(folder, prefix="unet", weight_name=FILE, use_safetensors=True, local_files_only=True)
    frozen(unet)  # peft puts the file's memory maps into the network
