"""Networks on a GPU that is not there: PyTorch's fake tensors have shape, type and device, and no values.

Two devices in one operation raise, and so does whatever waits for the host (`.item()`, `.tolist()`, `if tensor`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

GPU = torch.device("cuda", 0)


@contextmanager
def fake_gpu() -> Iterator[FakeTensorMode]:
    """Within the block `network.to("cuda")` works on any machine; what it computes must be run within the mode."""
    # Constants of the code, such as a noise schedule, are on the CPU and become fakes there.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    plain = nn.Module.to

    def to(module: nn.Module, *args: Any, **settings: Any) -> nn.Module:
        if not args or not isinstance(args[0], str | torch.device) or torch.device(args[0]).type != "cuda":
            return plain(module, *args, **settings)
        with mode:
            for part in module.modules():
                for name, weight in part._parameters.items():
                    if weight is not None:
                        fake = mode.from_tensor(weight.detach()).to(GPU)
                        part._parameters[name] = nn.Parameter(fake, weight.requires_grad)
                for name, buffer in part._buffers.items():
                    if buffer is not None:
                        part._buffers[name] = mode.from_tensor(buffer).to(GPU)
        return module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", to)
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)  # else autocast is off
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        yield mode
