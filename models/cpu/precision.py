"""The names of precisions, and which of them a device multiplies in."""

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_type(precision: str, device: torch.device) -> torch.dtype:
    """The type for matrix products.

    CPUs without bfloat16 units multiply it several times slower than float32, which takes its place there.
    """
    if precision == "bf16" and device.type == "cpu" and not bfloat16_units():
        return torch.float32
    return DTYPES[precision]


def bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX-512 BF16, AMX, or ARM's)."""
    # Older releases of PyTorch cannot report it.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
