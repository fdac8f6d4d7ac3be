"""Check that all processes hold the same values: the weights at startup, and the first step's gradients."""

import socket
from collections import Counter
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from train.errors import TrainingError

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of an element -> integer type
NAMED = 3


def check_equal(accelerator: Accelerator, tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise unless every process holds the same bits.

    Args:
        accelerator: of all processes; each of them calls this.
        tensors: name -> tensor, on the device; the same names everywhere.
        what: description for the message.

    Raises:
        TrainingError: in every process; names those that differ from the majority, or without one from the first.
    """
    if accelerator.num_processes == 1:
        return
    mine = torch.stack([_checksum(tensor) for tensor in tensors.values()])
    everyone = accelerator.gather(mine[None]).tolist()
    usual, _ = Counter(map(tuple, everyone)).most_common(1)[0]
    odd = [number for number, sums in enumerate(everyone) if tuple(sums) != usual]
    if not odd:
        return
    machines = gather_object([socket.gethostname()])
    names = [name for n, name in enumerate(tensors) if any(everyone[number][n] != usual[n] for number in odd)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    which = ", ".join(f"{number} (on {machines[number]})" for number in odd)
    raise TrainingError(
        f"the {what} of process {which} differ from the others', in {', '.join(names[:NAMED])}{more}. Each would train "
        "another network, so nothing was trained. Check that machine: the same commit, the same versions of torch "
        "and diffusers, the same files of base and checkpoint? If so, run without it: a GPU or a link may be faulty."
    )


def _checksum(tensor: Tensor) -> Tensor:
    """() int64: sum of the bits of all elements, as integers."""
    return tensor.detach().contiguous().view(BITS[tensor.element_size()]).sum(dtype=torch.int64)
