"""How the processes of one run hold the network: a replica each (DDP), or a share of what is trained each (FSDP2).

The launch decides, as accelerate's users know it: `launch/accelerate/fsdp2.yaml`, or ACCELERATE_USE_FSDP=true and
FSDP_VERSION=2 in the environment. Numbers and checkpoints are the same either way.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, disable_fsdp_ram_efficient_loading
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from models.denoiser import Denoiser
from train.config import TrainConfig
from train.errors import ConfigError

# Gradients that travel together, MB. Between hosts (gloo) small lots are on their way while the backward pass goes on
# (docs/scaling.md); on GPUs it is PyTorch's own choice.
HOST_BUCKET_MB, BUCKET_MB = 4, 25


def sharding_of(train: TrainConfig) -> FullyShardedDataParallelPlugin | None:
    """What the launch says of sharding; None = every process holds everything.

    Switches off that all processes but the first load empty networks: shares are cut from what each has loaded.

    Raises:
        ConfigError: it asks for what the trainer cannot do, or for what does not fit the config.
    """
    if _switched_on("ACCELERATE_USE_DEEPSPEED"):
        raise ConfigError(
            "this launch asks for DeepSpeed. Its checkpoints are pickles that only DeepSpeed reads, so the trainer "
            "does not use it. For the same memory: accelerate launch --config_file launch/accelerate/fsdp2_offload.yaml"
        )
    if not _switched_on("ACCELERATE_USE_FSDP"):
        return None
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise ConfigError(f"this launch asks for FSDP {plugin.fsdp_version}; set fsdp_version: 2 in its fsdp_config.")
    if train.optimizer == "adamw8bit":
        raise ConfigError("train.optimizer is adamw8bit, whose moments cannot be sharded by FSDP. Choose adamw.")
    if train.precision == "fp16":
        raise ConfigError("train.precision is fp16, whose loss scale is not kept under FSDP. Choose bf16 or fp32.")
    disable_fsdp_ram_efficient_loading()
    return plugin


def _switched_on(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1")


def shard(denoiser: Denoiser, plugin: FullyShardedDataParallelPlugin, device: torch.device) -> None:
    """Leave every process its share of what is trained; gradients, moments and average follow.

    The frozen weights stay whole everywhere: they have no gradients and no moments, where most of the memory goes, and
    sharing them out would fetch them again over the network in every step.
    """
    offload = isinstance(plugin.cpu_offload, CPUOffloadPolicy)  # else accelerate puts an OffloadPolicy there
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": CPUOffloadPolicy(pin_memory=device.type == "cuda") if offload else OffloadPolicy(),
        "ignored_params": {weight for weight in denoiser.parameters() if not weight.requires_grad},
    }
    for weight in denoiser.trained().values():
        weight.data = weight.data.contiguous()  # FSDP2 cuts no weights that lie channels last
    if denoiser.controlnet is not None:
        for block in (*denoiser.controlnet.down_blocks, denoiser.controlnet.mid_block):
            fully_shard(block, **settings)
    fully_shard(denoiser, **settings)


def join(accelerator: Accelerator, denoiser: Denoiser) -> nn.Module:
    """The denoiser as the loop calls it: its backward pass averages the gradients over all processes."""
    if accelerator.num_processes == 1 or isinstance(denoiser, FSDPModule):
        return denoiser
    return DistributedDataParallel(
        denoiser,
        device_ids=[accelerator.device] if accelerator.device.type == "cuda" else None,
        init_sync=False,  # `train.processes.self_test` has shown that all weights are the same
        gradient_as_bucket_view=True,
        bucket_cap_mb=HOST_BUCKET_MB if accelerator.device.type == "cpu" else BUCKET_MB,
    )


@contextmanager
def without_sync(denoiser: nn.Module) -> Iterator[None]:
    """Gradients of this micro-batch wait for those of the step's last one."""
    if isinstance(denoiser, FSDPModule):
        denoiser.set_requires_gradient_sync(False)
        yield
        denoiser.set_requires_gradient_sync(True)
    elif isinstance(denoiser, DistributedDataParallel):
        with denoiser.no_sync():
            yield
    else:
        yield


def reshard(denoiser: nn.Module) -> None:
    """Let go of whole weights that a forward pass has left, as with `fsdp_reshard_after_forward: false`.

    Called when the shares have changed: the next pass gathers them anew.
    """
    for module in denoiser.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def is_sharded(weights: Mapping[str, Tensor]) -> bool:
    """Whether this process has only its share."""
    return any(isinstance(weight, DTensor) for weight in weights.values())


def local(tensor: Tensor) -> Tensor:
    """This process's share; of a whole tensor, the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All shares together. Called by every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Whole tensors, on the CPU if they were shares, one after the other. Every process calls this; few `keep` them."""
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            found[name] = full.cpu() if isinstance(tensor, DTensor) else full
    return found


@torch.no_grad()
def copy_into(tensor: Tensor, values: Tensor) -> None:
    """Set a tensor, or this process's share of it, to whole values that every process has."""
    if isinstance(tensor, DTensor):
        mesh = tensor.device_mesh
        values = distribute_tensor(values.to(mesh.device_type), mesh, tensor.placements, src_data_rank=None).to_local()
    local(tensor).copy_(values)
