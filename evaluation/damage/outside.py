"""A damage model of somebody else's: a function in a Python file that the user names on the command line."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.storage import sha256
from evaluation.errors import EvaluationError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class OutsideModel:
    """Used as our own damage models are."""

    path: Path
    name: str
    function: Any

    @property
    def facts(self) -> dict[str, Any]:
        """What identifies it."""
        return {"file_sha256": sha256(self.path), "function": self.name}

    def classify(self, pre: Sequence[Pixels], post: Sequence[Pixels]) -> NDArray[np.uint8]:
        """(N, side, side) classes, 0 to 4, of N pairs of (side, side, 3).

        Raises:
            EvaluationError: the function returns something else.
        """
        before, after = np.stack(pre), np.stack(post)
        found = self.function(before, after)
        shown = np.asarray(found.cpu() if hasattr(found, "cpu") else found)
        if shown.shape != before.shape[:3] or not np.isin(shown, range(5)).all():
            raise EvaluationError(
                f"judge {self.path}:{self.name}: returned {shown.dtype} {shown.shape}, expected {before.shape[:3]} "
                "with the classes 0 to 4."
            )
        return shown.astype(np.uint8)


def named_function(name: str) -> tuple[Path, str] | None:
    """File and function of `FILE.py:FUNCTION`; None of the name of a folder."""
    file, colon, function = name.rpartition(":")
    return (Path(file), function) if colon and file.endswith(".py") else None


def load_outside(path: Path, name: str) -> OutsideModel:
    """Run the file; no file of a set, a protocol or a checkpoint can name one.

    Raises:
        EvaluationError: there is no such file or function, or it fails.
    """
    spec = importlib.util.spec_from_file_location("pre2post_judge", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise EvaluationError(f"judge {path}: no such file. Expected FILE.py:FUNCTION, or a folder of a damage model.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return OutsideModel(path, name, getattr(module, name))
    except Exception as error:  # whatever their code raises
        raise EvaluationError(f"judge {path}:{name}: cannot be loaded ({type(error).__name__}: {error}).") from error
