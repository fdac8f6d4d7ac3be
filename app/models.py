"""What can be chosen in the page: the checkpoints that were named, and the base alone; one of them is in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import AppError
from data.storage import sha256
from generate.checkpoint import Checkpoint, open_base, open_checkpoint
from generate.editing.base import STRENGTH
from generate.editing.methods import SOLVERS
from generate.generator import Generator, load_generator, load_untrained
from generate.sampling import Sampling
from models import Base, load_base
from models.checkpoint import MANIFEST, SHIPPED, named_checkpoint, steps_in

ALONE = "the base alone"


@dataclass(frozen=True)
class Model:
    """Networks that can generate: a checkpoint and its base, or a base that nothing was trained on."""

    name: str
    trained: Checkpoint  # of a base alone what it would be untrained
    parts: Base
    alone: bool

    @property
    def method(self) -> str:
        """One of METHODS: a base alone sees the pre image only by starting from it."""
        return "sdedit" if self.alone else "controlnet"

    @property
    def target(self) -> str:
        """The image that is made: `post` or `pre`."""
        return "pre" if self.trained.direction == "past" else "post"

    @property
    def reads_metadata(self) -> bool:
        """Whether the networks are told place, date and ground size."""
        return self.trained.metadata and bool(self.parts.config("unet").get("use_metadata"))

    @property
    def samplers(self) -> list[str]:
        """The solvers that fit; of a base alone only those that may begin in the middle of the process."""
        fitting = self.parts.samplers(self.trained.zero_terminal_snr)
        return [name for name in fitting if name in SOLVERS or not self.alone]

    def facts(self) -> dict[str, Any]:
        """What identifies the networks, for the manifest."""
        if not self.alone:
            return self.trained.described()
        return {"base": self.parts.name, "base_unet_sha256": self.trained.unet_sha256, "strength": STRENGTH}


class Models:
    """Opens what is chosen; the networks of the last choice stay in memory, those of any other do not."""

    def __init__(self, checkpoints: Sequence[Path], base: str | None) -> None:
        """Nothing is opened yet.

        Args:
            checkpoints: runs, checkpoints, or folders of runs.
            base: where the base of the checkpoints is now, also offered alone; None = where the training found it,
                and `tiny`.
        """
        self.checkpoints, self.base = checkpoints, base
        self._opened: Model | None = None
        self._mark = ""
        self._loaded: tuple[Model, Generator] | None = None

    def names(self) -> list[str]:
        """The choices: those there are now, the newest first, then what ships with the project, the base alone last."""
        runs = [run for path in self.checkpoints for run in runs_in(path)]
        newest = sorted(dict.fromkeys(runs), key=lambda run: run.stat().st_mtime, reverse=True)
        return [*map(str, newest), *([] if self.base else SHIPPED), f"{self.base or 'tiny'} ({ALONE})"]

    def open(self, name: str) -> Model:
        """Find and check a choice; hashes are compared when it changes.

        Raises:
            AppError: it is none of the choices, or has vanished.
            CheckpointError, BaseError: it is damaged.
        """
        if name not in self.names():
            self.forget()
            raise AppError(f"{name[:200]} is not there any more. Load the page again and choose another checkpoint.")
        mark = _mark(name)
        if self._opened is None or (self._opened.name, self._mark) != (name, mark):
            alone = name.endswith(f"({ALONE})")
            self._opened = _alone(name, load_base(self.base or "tiny")) if alone else _trained(name, self.base)
            self._mark = mark
        return self._opened

    def load(self, model: Model, sampling: Sampling) -> Generator:
        """The networks, with the sampler that is asked for."""
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # before the next ones take memory
            if model.alone:
                self._loaded = model, load_untrained(model.parts, sampling, model.trained.text_chunks)
            else:
                self._loaded = model, load_generator(model.trained, model.parts, sampling)
        sampler = model.parts.load_sampler(sampling.scheduler, model.trained.zero_terminal_snr)
        return replace(self._loaded[1], sampler=sampler)

    def forget(self) -> None:
        """Free the networks."""
        self._opened = self._loaded = None


def runs_in(path: Path) -> list[Path]:
    """A run or checkpoint itself, or the runs of a folder."""
    if (path / MANIFEST).is_file() or steps_in(path / "checkpoints"):
        return [path]
    if not path.is_dir():
        return []
    return [folder for folder in sorted(path.iterdir()) if steps_in(folder / "checkpoints")]


def _mark(name: str) -> str:
    """What changes when the newest checkpoint of a run does."""
    path = named_checkpoint(Path(name))
    newest = [folder / MANIFEST for folder in [path, *reversed(steps_in(path / "checkpoints"))]]
    return next((f"{file} {sha256(file)}" for file in newest if file.is_file()), "")


def _trained(name: str, base: str | None) -> Model:
    checkpoint = open_checkpoint(Path(name))
    return Model(name, checkpoint, open_base(checkpoint, base), alone=False)


def _alone(name: str, base: Base) -> Model:
    untrained = Checkpoint(
        folder=base.folder,
        step=0,
        base=base.name,
        family=base.family.key,
        unet_sha256=base.network_hash,
        resolution=base.resolution,
        patch_px=base.resolution,
        gsd_m=None,
        caption_style="short",
        prompt=None,
        trained="controlnet",
        condition="pixels",
        direction="future",
        text_chunks=1,
        zero_terminal_snr=False,
        base_bits=None,
        metadata=True,
        sequence=1,
        trained_on={"datasets": [], "split": "", "leave_out": []},
    )
    return Model(name, untrained, base, alone=True)
