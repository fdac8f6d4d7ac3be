"""Run by two processes: fill one cache of texts together, and say who wrote what. Arguments: base, folder, number."""

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from models import load_base
from train.cache import cache_text


def main() -> None:
    base, folder, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    accelerator = Accelerator(cpu=True)
    wrote = []

    def noting(tensors: dict[str, torch.Tensor], path: Path) -> None:
        wrote.append(path.name.partition(".")[0])
        save_file(tensors, path)

    with patch("train.cache.save_file", noting):
        cache_text(accelerator, folder, load_base(base), [f"text {n}" for n in range(number)])
    (folder / f"wrote-{accelerator.process_index}").write_text(" ".join(wrote))
    accelerator.end_training()


if __name__ == "__main__":
    main()
