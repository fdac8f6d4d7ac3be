"""How the processes of one run find each other."""

import torch
from accelerate import PartialState


def join_processes() -> PartialState:
    """Join the others that `accelerate launch` or torchrun started; call it before anything else asks for the state."""
    # Without cpu=True several processes without GPUs would each take themselves for the only one.
    return PartialState(cpu=not torch.accelerator.is_available())
