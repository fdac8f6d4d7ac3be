"""How the processes of one run find each other."""

import torch
from accelerate import PartialState

from models.freed_memory import keep_freed_memory
from models.threads import set_threads


def join_processes() -> PartialState:
    """Join the others that `accelerate launch` or torchrun started, each with its share of the cores.

    Call it before anything else asks for the state.
    """
    keep_freed_memory()
    set_threads()
    # Without cpu=True several processes without GPUs would each take themselves for the only one.
    return PartialState(cpu=not torch.accelerator.is_available())
