"""Run by two processes: what differs between them is named. Arguments: a folder, then those of a training."""

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator

from models.denoiser import Denoiser
from tests.train.conftest import run
from train.errors import TrainingError
from train.processes.first_process import from_main
from train.processes.self_test import check_equal


def main() -> None:
    folder, argv = Path(sys.argv[1]), sys.argv[2:]
    accelerator = Accelerator(cpu=True)
    odd = float(accelerator.process_index)
    said = []
    equal = {"a": torch.ones(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    check_equal(accelerator, equal, "weights")
    for name in equal:
        try:
            check_equal(accelerator, equal | {name: equal[name] + odd * 2**-7}, "weights")
        except TrainingError as error:
            said.append(str(error))

    def full() -> None:
        raise OSError(28, "No space left on device", "run.json")

    try:
        from_main(accelerator, full)
    except (OSError, TrainingError) as error:
        said.append(f"{type(error).__name__}: {error}")

    def not_joined(accelerator: Accelerator, denoiser: Denoiser) -> Denoiser:
        return denoiser

    with patch("train.loop.join", not_joined):
        try:
            run(argv)
        except TrainingError as error:
            said.append(str(error))
    (folder / f"said-{accelerator.process_index}").write_text("\n".join(said))


if __name__ == "__main__":
    main()
