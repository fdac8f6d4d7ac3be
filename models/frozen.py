"""Networks as they are after loading: frozen, in eval mode, every weight in memory of its own."""

from itertools import chain
from typing import TypeVar

from torch import nn

from models.cpu.freed_memory import give_back_freed_memory

Module = TypeVar("Module", bound=nn.Module)


def frozen(module: Module) -> Module:
    """Freeze a network that was read from files, and copy its weights out of their memory maps.

    safetensors maps a file into memory, where a tensor begins wherever the file's layout puts it. Matrix products round
    differently at addresses that are no multiple of 64 bytes, so the same weights in a file of another layout would
    predict something else in the last bits; and a file that is overwritten later would change the network.
    """
    for tensor in chain(module.parameters(), module.buffers()):
        tensor.data = tensor.data.clone()
    give_back_freed_memory()
    return module.requires_grad_(False).eval()
