"""Run by two processes: fill one cache of texts together, and say who wrote what. Arguments: base, folder, number."""

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from models import load_base
from train.inputs.cache import cache_text


def numbered(count: int) -> torch.Tensor:
    """(count, 1, 77) token ids, no two alike."""
    ids = torch.zeros(count, 1, 77, dtype=torch.int64)
    ids[:, 0, 0], ids[:, 0, 1] = torch.arange(count) % 100, torch.arange(count) // 100
    return ids


def main() -> None:
    base, folder, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    accelerator = Accelerator(cpu=True)
    wrote = []

    def noting(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        wrote.append(path.name.split(".")[1])
        save_file(tensors, path, metadata)

    with patch("train.inputs.packs.save_file", noting):
        cache_text(accelerator, folder, load_base(base), numbered(number))
    (folder / f"wrote-{accelerator.process_index}").write_text(" ".join(wrote))
    accelerator.end_training()


if __name__ == "__main__":
    main()
