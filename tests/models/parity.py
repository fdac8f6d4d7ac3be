"""Cases recorded from the original DiffusionSat code: see tests/parity/README.md."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.real import real

HERE = Path(__file__).parents[1] / "parity"
TOLERANCE = 2e-5  # largest difference over largest value


@dataclass(frozen=True)
class Case:
    """One folder of inputs and outputs."""

    folder: Path

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return dict(load_file(self.folder / "inputs.safetensors"))

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return dict(load_file(self.folder / "outputs.safetensors"))

    @cached_property
    def described(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self.folder / "case.json").read_text())
        return described

    def arguments(self, call: str) -> dict[str, Any]:
        """The arguments of one call; `"@x"` stands for the input named x."""
        arguments = self.described["calls"][call]["args"]
        return {name: self.inputs[value[1:]] if isinstance(value, str) else value for name, value in arguments.items()}


def case(name: str) -> Case:
    """A case of the repository or of PRE2POST_REAL; the test is skipped if it is in neither."""
    here = HERE / name
    return Case(here if here.is_dir() else real(f"parity/{name}"))


def read_json(name: str) -> dict[str, Any]:
    """A JSON file of the repository's parity folder."""
    content: dict[str, Any] = json.loads((HERE / name).read_text())
    return content


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference over largest expected value; 0 where both are all zero."""
    assert found.shape == expected.shape
    gap = (found - expected).abs().max()
    return 0.0 if not gap else float(gap / expected.abs().max())


def seeded(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
