"""LoRA on the frozen UNet, by peft, in the folder format that diffusers loads."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from diffusers.utils import convert_state_dict_to_kohya
from pydantic import Field, TypeAdapter, create_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.documents import parse_document
from models.families.family import Family
from models.frozen import frozen

FILE = "pytorch_lora_weights.safetensors"  # what `load_lora_weights` looks for
KOHYA = "kohya.safetensors"  # the same update for tools that are not built on diffusers
ADAPTER = "default"
METADATA = "lora_adapter_metadata"  # in the file's header, as diffusers writes it
Alpha = Annotated[float, Field(gt=0, le=1e6)]


def add_lora(
    network: Any,  # noqa: ANN401 (of diffusers)
    *,
    rank: int,
    alpha: int,
    targets: Sequence[str],
    seed: int,
    exclude: Sequence[str] = (),
) -> None:
    """Add trainable low-rank updates; the second factor starts at zero (Hu et al. 2022, section 4.1).

    Args:
        network: frozen; stays so.
        rank: of the update.
        alpha: the update is scaled by alpha / rank.
        targets: ends of the names of the layers, e.g. `to_q`.
        seed: of the first factors.
        exclude: names of layers that get none.

    Raises:
        ValueError: no layer of the network has such a name.
    """
    config = importlib.import_module("peft").LoraConfig(  # takes seconds, and most trainings have no LoRA
        r=rank,
        lora_alpha=alpha,
        target_modules=list(targets),
        exclude_modules=list(exclude) or None,
        init_lora_weights="gaussian",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.add_adapter(config, adapter_name=ADAPTER)
    for name, weight in network.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()  # trained weights are float32 whatever the base is in


def save_lora(folder: Path, family: Family, unet: Any, weights: Mapping[str, Tensor]) -> None:  # noqa: ANN401
    """Write a folder for `pipeline.load_lora_weights`; `weights` by their names in the denoising network.

    diffusers reads alpha in its file's header and takes no file with other tensors than the factors. ComfyUI, web UIs
    and kohya's scripts look for a tensor `LAYER.alpha`, and assume alpha = rank without it: KOHYA is for them.
    """
    metadata = unet.peft_config[ADAPTER].to_dict()
    layers = {name.replace(f".{ADAPTER}.weight", ".weight"): weight for name, weight in weights.items()}
    part = family.network
    arguments = {f"{part}_lora_layers": layers, f"{part}_lora_adapter_metadata": metadata}
    family.pipeline.save_lora_weights(folder, **arguments)
    if not family.kohya:
        return
    rank, alpha = metadata["r"], metadata["lora_alpha"]
    kohya = convert_state_dict_to_kohya({f"unet.{name}": weight for name, weight in layers.items()})
    kohya |= {name: torch.tensor(float(alpha)) for name in kohya if name.endswith(".alpha")}
    save_file(kohya, folder / KOHYA, metadata={"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)})


def load_lora(folder: Path) -> dict[str, Tensor]:
    """What `save_lora` wrote, by the names in the denoising network."""
    saved = load_file(folder / FILE)
    return {name.partition(".")[2].replace(".weight", f".{ADAPTER}.weight"): x for name, x in saved.items()}


def check_lora(folder: Path, network: nn.Module, part: str) -> None:
    """Stop unless every factor belongs to a layer of the network: diffusers skips others with only a warning.

    Raises:
        ValueError: naming the factor, or what is wrong with rank and alpha.
    """
    with safe_open(folder / FILE, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        header = (file.metadata() or {}).get(METADATA)
    layers = dict(network.named_modules())
    ranks = set()
    for name, shape in shapes.items():
        layer, _, factor = name.removeprefix(f"{part}.").removesuffix(".weight").rpartition(".")
        down = factor == "lora_A"
        other = name.replace("lora_A", "lora_B") if down else name.replace("lora_B", "lora_A")
        weight = getattr(layers.get(layer), "weight", None)
        if weight is None or other not in shapes or len(shape) != weight.ndim or shape[down] != weight.shape[down]:
            raise ValueError(f"{FILE}: {name} of shape {shape} fits no layer of the base's {part}")
        ranks.add(shape[not down])
    if len(ranks) != 1:
        raise ValueError(f"{FILE}: factors of ranks {sorted(ranks)}, expected one")
    if header is not None and (rank := parse_document(header, FILE, _settings(part), "", ValueError).rank) not in ranks:
        raise ValueError(f"{FILE}: its header says rank {rank}, but its factors are of rank {ranks.pop()}")


def load_adapter(folder: Path, network: Any, part: str) -> None:  # noqa: ANN401 (with adapters)
    """Put a saved LoRA into the denoising network, frozen.

    Raises:
        ValueError: as `check_lora`.
    """
    check_lora(folder, network, part)
    network.load_lora_adapter(folder, prefix=part, weight_name=FILE, use_safetensors=True, local_files_only=True)
    frozen(network)  # peft puts the file's memory maps into the network


def _settings(part: str) -> TypeAdapter[Any]:
    """What the header says of the factors of one network."""
    fields: dict[str, Any] = {
        "rank": (int, Field(alias=f"{part}.r")),
        "alpha": (Alpha, Field(alias=f"{part}.lora_alpha")),
    }
    return TypeAdapter(create_model("Settings", **fields))
