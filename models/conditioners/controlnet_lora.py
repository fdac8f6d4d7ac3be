"""A ControlNet whose copied encoder stays frozen: low-rank updates in it are trained, and what the base lacks.

What is copied is not kept twice: the ControlNet uses the base's own weights. Its folder is what peft loads onto a
ControlNet that diffusers copies from the base: `PeftModel.from_pretrained(ControlNetModel.from_unet(unet), FOLDER)`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import NotRequired, TypedDict

from data.documents import read_document
from models.base_config import read_json
from models.errors import BaseError
from models.frozen import frozen
from models.lora import ADAPTER, add_lora

FILE, SETTINGS_FILE = "adapter_model.safetensors", "adapter_config.json"  # as peft names them
PREFIX = "base_model.model."  # of every name in peft's files
Names = list[Annotated[str, Field(min_length=1, max_length=300)]]


class Settings(TypedDict):
    """What is read of peft's LoraConfig; the weights must fit what follows from it."""

    r: Annotated[int, Field(ge=1, le=4096)]
    lora_alpha: Annotated[int, Field(ge=1, le=1_000_000)]
    target_modules: Names
    exclude_modules: NotRequired[Names | None]


def freeze_copied(
    controlnet: Any,  # noqa: ANN401 (of the family's class)
    network: nn.Module,
    *,
    rank: int,
    alpha: int,
    targets: Sequence[str],
    seed: int,
) -> None:
    """Share what a ControlNet has copied with the base's network, and add updates to it; what is new stays trained.

    Args:
        controlnet: as the family makes it; its weights that are not trained (nobody reads what they make) get none.
        network: the base's, frozen.
        rank: of the updates, as the following: see `add_lora`.
        alpha: scales them.
        targets: ends of the names of the layers.
        seed: of the first factors.

    Raises:
        ValueError: no layer has such a name.
    """
    unread = [name.rpartition(".")[0] for name, weight in controlnet.named_parameters() if not weight.requires_grad]
    new = [part for part, module in controlnet.named_children() if not _shared(controlnet, part, module, network)]
    add_lora(controlnet, rank=rank, alpha=alpha, targets=targets, seed=seed, exclude=unread)
    for part in new:
        controlnet.get_submodule(part).requires_grad_(True)
    controlnet.peft_config[ADAPTER].modules_to_save = [name for part in new for name in _modules(controlnet, part)]


def _shared(controlnet: Any, part: str, module: nn.Module, network: nn.Module) -> bool:  # noqa: ANN401
    """Whether a part is a copy of the base's; it then uses the base's weights."""
    theirs = dict(network.named_parameters())
    mine = {f"{part}.{name}": weight for name, weight in module.named_parameters()}
    if any(name not in theirs or theirs[name].shape != weight.shape for name, weight in mine.items()):
        return False
    for name in mine:
        owner, _, leaf = name.rpartition(".")
        setattr(controlnet.get_submodule(owner), leaf, theirs[name])
    for name, buffer in network.named_buffers():
        if name.startswith(f"{part}."):
            owner, _, leaf = name.rpartition(".")
            setattr(controlnet.get_submodule(owner), leaf, buffer)
    return True


def _modules(controlnet: Any, part: str) -> Iterator[str]:  # noqa: ANN401
    """A part as peft replaces it, which takes no list of modules as one."""
    module = controlnet.get_submodule(part)
    yield from [f"{part}.{number}" for number in range(len(module))] if isinstance(module, nn.ModuleList) else [part]


def save_controlnet_lora(folder: Path, controlnet: Any, weights: Mapping[str, Tensor]) -> None:  # noqa: ANN401
    """Write a folder for peft, with the ControlNet's own config; `weights` by their names in it."""
    controlnet.save_config(folder)
    settings = controlnet.peft_config[ADAPTER].to_dict()
    text = json.dumps(settings, indent=1, sort_keys=True, default=sorted)  # sets have no order
    (folder / SETTINGS_FILE).write_text(text + "\n")
    named = {PREFIX + name.replace(f".{ADAPTER}.weight", ".weight"): weight for name, weight in weights.items()}
    save_file(named, folder / FILE, metadata={"format": "pt"})


def read_controlnet_lora(folder: Path) -> dict[str, Tensor]:
    """What `save_controlnet_lora` wrote, by the names in the ControlNet."""
    saved = {name.removeprefix(PREFIX): weight for name, weight in load_file(folder / FILE).items()}
    return {_in_network(name): weight for name, weight in saved.items()}


def _in_network(name: str) -> str:
    factor = name.removesuffix(".weight")
    return f"{factor}.{ADAPTER}.weight" if factor.endswith((".lora_A", ".lora_B")) else name


def load_controlnet_lora(folder: Path, network: nn.Module, class_of: Callable[[Path], Any]) -> Any:  # noqa: ANN401
    """The ControlNet of a folder beside the base's network, frozen.

    Args:
        folder: as `save_controlnet_lora` writes it.
        network: the base's; its weights are used, none is changed.
        class_of: finds the ControlNet's class, see `Family.controlnet_class`.

    Raises:
        BaseError: config files or weights do not fit each other or the base.
    """
    settings = read_document(folder / SETTINGS_FILE, TypeAdapter(Settings), "Copy the whole folder again.", BaseError)
    config: dict[str, Any] = {
        "rank": settings["r"],
        "alpha": settings["lora_alpha"],
        "targets": settings["target_modules"],
    }
    with torch.device("meta"):
        controlnet = class_of(folder).from_config(read_json(folder / "config.json"))
    for name in settings.get("exclude_modules") or []:
        controlnet.get_submodule(name).requires_grad_(False)
    freeze_copied(controlnet, network, **config, seed=0)
    weights = read_controlnet_lora(folder)
    expected = {name: x.shape for name, x in controlnet.named_parameters() if x.requires_grad}
    found = {name: x.shape for name, x in weights.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise BaseError(
            f"{folder / FILE}: {wrong[0]} should be {_shape(expected, wrong[0])}, and is {_shape(found, wrong[0])}. "
            "Copy the whole folder again."
        )
    controlnet.load_state_dict(weights, strict=False, assign=True)
    return frozen(controlnet)


def _shape(shapes: Mapping[str, torch.Size], name: str) -> str:
    return f"of shape {tuple(shapes[name])}" if name in shapes else "missing"
