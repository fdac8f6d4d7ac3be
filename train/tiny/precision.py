"""In which type the tiny networks multiply."""

import torch

from models.cpu.precision import compute_type


def autocast(precision: str) -> torch.autocast:
    """Of `precision`, or float32 where this CPU multiplies bfloat16 slowly: by ten times, where it has no units."""
    computed = compute_type(precision, torch.device("cpu"))
    return torch.autocast("cpu", computed, enabled=computed != torch.float32)
