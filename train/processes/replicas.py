"""How the processes of one run hold the network: each a replica (DDP), or each a shard of the trained weights (FSDP2).

The launch decides, as usual with accelerate: `launch/accelerate/fsdp2.yaml`, or ACCELERATE_USE_FSDP=true and
FSDP_VERSION=2 in the environment. Results and checkpoints are the same either way.
"""

import os
import warnings
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

# Gradient bucket size, MB. Between hosts (gloo) small buckets overlap communication with the backward pass
# (docs/scaling.md); on GPUs it is PyTorch's default.
HOST_BUCKET_MB, BUCKET_MB = 4, 25


def sharding_of(train: TrainConfig, base_bits: int | None = None) -> FullyShardedDataParallelPlugin | None:
    """The launch's sharding settings; None = every process holds everything.

    Disables loading empty networks in all but the first process: shards are cut from what each has loaded.

    Raises:
        ConfigError: it requests something unsupported, or inconsistent with the config.
    """
    if _switched_on("ACCELERATE_USE_DEEPSPEED"):
        raise ConfigError(
            "this launch requests DeepSpeed. Its checkpoints are pickles that only DeepSpeed reads, so the trainer "
            "does not use it. For the same memory: accelerate launch --config_file launch/accelerate/fsdp2_offload.yaml"
        )
    if not _switched_on("ACCELERATE_USE_FSDP"):
        return None
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise ConfigError(f"this launch requests FSDP {plugin.fsdp_version}; set fsdp_version: 2 in its fsdp_config.")
    if train.optimizer == "adamw8bit":
        raise ConfigError("train.optimizer is adamw8bit, whose moments cannot be sharded by FSDP. Choose adamw.")
    if train.precision == "fp16":
        raise ConfigError("train.precision is fp16, whose loss scale is not supported under FSDP. Choose bf16 or fp32.")
    if base_bits:
        raise ConfigError(f"model.base_bits is {base_bits}, which was not tried under FSDP. Omit it.")
    disable_fsdp_ram_efficient_loading()
    return plugin


def _switched_on(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1")


def shard(denoiser: Denoiser, plugin: FullyShardedDataParallelPlugin, device: torch.device) -> None:
    """Shard the trained weights over the processes; gradients, moments and EMA follow.

    The frozen weights stay whole everywhere: they have no gradients or moments, which take most of the memory, and
    sharding them would fetch them over the network in every step.
    """
    offload = isinstance(plugin.cpu_offload, CPUOffloadPolicy)  # else accelerate sets an OffloadPolicy
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": CPUOffloadPolicy(pin_memory=device.type == "cuda") if offload else OffloadPolicy(),
        "ignored_params": {weight for weight in denoiser.parameters() if not weight.requires_grad},
    }
    for weight in denoiser.trained().values():
        weight.data = weight.data.contiguous()  # FSDP2 does not shard channels-last weights
    if denoiser.controlnet is not None:
        for block in denoiser.family.blocks(denoiser.controlnet):
            fully_shard(block, **settings)
    fully_shard(denoiser, **settings)


def join(accelerator: Accelerator, denoiser: Denoiser) -> nn.Module:
    """The denoiser as the loop calls it: its backward pass averages the gradients over all processes."""
    if accelerator.num_processes == 1 or isinstance(denoiser, FSDPModule):
        return denoiser
    # torch announces another name for it, which older versions lack.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    return DistributedDataParallel(
        denoiser,
        device_ids=[accelerator.device] if accelerator.device.type == "cuda" else None,
        broadcast_buffers=False,  # constants, and a base in few bits: as equal as the weights
        init_sync=False,  # `train.processes.self_test` has checked that all weights are equal
        gradient_as_bucket_view=True,
        bucket_cap_mb=HOST_BUCKET_MB if accelerator.device.type == "cpu" else BUCKET_MB,
    )


@contextmanager
def without_sync(denoiser: nn.Module) -> Iterator[None]:
    """Gradients of this micro-batch are synchronised with the step's last one."""
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
    """Free the gathered weights that a forward pass left, as with `fsdp_reshard_after_forward: false`.

    Called when the shards have changed: the next pass gathers them again.
    """
    for module in denoiser.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def is_sharded(weights: Mapping[str, Tensor]) -> bool:
    """Whether this process has only its shard."""
    return any(isinstance(weight, DTensor) for weight in weights.values())


def local(tensor: Tensor) -> Tensor:
    """This process's shard; a whole tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All shards gathered. Called by every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Whole tensors, on the CPU if they were shards, one after the other. Every process calls this; few `keep` them."""
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            found[name] = full.cpu() if isinstance(tensor, DTensor) else full
    return found


@torch.no_grad()
def copy_into(tensor: Tensor, values: Tensor) -> None:
    """Set a tensor, or this process's shard of it, to whole values that every process has."""
    if isinstance(tensor, DTensor):
        mesh = tensor.device_mesh
        values = distribute_tensor(values.to(mesh.device_type), mesh, tensor.placements, src_data_rank=None).to_local()
    local(tensor).copy_(values)
