"""Protocols of comparison: what everybody who compares their numbers must do alike, in a file of configs/protocols."""

import difflib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.columns import METRICS
from evaluation.errors import EvaluationError
from evaluation.options import USUAL_NETWORKS, judging
from evaluation.results import Published
from generate.sampling import MOST_PX, PUBLISHED, Sampling, is_side

USUAL = {"split": "test", "events": "", "methods": "copy", "resolution": None, "networks": ",".join(USUAL_NETWORKS)}
PROTOCOLS = Path(__file__).parents[1] / "configs/protocols"


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Row(_Checked):
    row: str
    source: str
    values: dict[str, float]


class Protocol(_Checked):
    """What is fixed, and the numbers of others."""

    title: str
    source: str  # where the protocol comes from
    needs: str = ""  # what `--patches` must be, in words; "": the whole split
    split: str = "test"
    events: str = ""  # separated by commas; "": all
    resolution: Annotated[int, Field(ge=8, multiple_of=8)]  # side of the images that are compared, px
    methods: str = "copy,base"
    networks: str
    scheduler: str
    steps: int
    guidance_scale: float
    seed: int
    samples: int = 1
    published: list[_Row] = []

    def fixed(self) -> dict[str, Any]:
        """Option of `compare` -> value."""
        return self.model_dump(exclude={"title", "source", "needs", "published"})

    def rows(self) -> tuple[Published, ...]:
        """The numbers of others."""
        return tuple(Published(one.row, one.source, one.values) for one in self.published)


def settled(
    name: str | None, patches: Path | None, split: str, events: str, methods: str, resolution: int | None,
    networks: str, sampling: Sampling,
) -> tuple[str, str, str, int | None, str, Sampling, tuple[Published, ...]]:  # fmt: skip
    """The options of `compare` with what a protocol fixes, and the numbers of others.

    Raises:
        EvaluationError: there is no such protocol, an option contradicts it, or the list it needs is not given.
    """
    if not is_side(resolution):
        raise EvaluationError(f"resolution is {resolution}; expected a multiple of 8 px, at most {MOST_PX:,}.")
    given = {"split": split, "events": events, "methods": methods, "resolution": resolution, "networks": networks}
    if name is None:
        return split, events, methods, resolution, networks, sampling, ()
    protocol = read_protocol(name)
    if protocol.needs and patches is None:
        raise EvaluationError(f"protocol {name} measures on a list of patches. Give it by --patches: {protocol.needs}")
    usual, fixed = USUAL | asdict(PUBLISHED), protocol.fixed()
    for option, value in (given | asdict(sampling)).items():
        if option in fixed and value not in (usual[option], fixed[option]):
            raise EvaluationError(
                f"{option} is {value}, but the protocol {name} fixes {fixed[option]}. Leave "
                f"--{option.replace('_', '-')} out, or compare without --protocol."
            )
    sampled = replace(sampling, **{option: fixed[option] for option in asdict(sampling) if option in fixed})
    chosen = [fixed[option] for option in given]
    return (*chosen, sampled, protocol.rows())  # type: ignore[return-value]


def read_protocol(name: str) -> Protocol:
    """A file, or one of configs/protocols by its name.

    Raises:
        EvaluationError: there is none, or it is not valid.
    """
    path = Path(name) if name.endswith(".yaml") else PROTOCOLS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(one.stem for one in PROTOCOLS.glob("*.yaml"))
        near = difflib.get_close_matches(name, known, 1)
        raise EvaluationError(
            f"protocol: there is no {name}. {f'Did you mean {near[0]}?' if near else ''} Choose from {', '.join(known)}"
            ", or name a .yaml file."
        )
    try:
        protocol = Protocol.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        judging(protocol.networks)
        Sampling(**{name: value for name, value in protocol.fixed().items() if name in Sampling.__dataclass_fields__})
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else "file"
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise EvaluationError(f"protocol {path}: {where}: {' '.join(str(what).split())[:300]}.") from None
    for row in protocol.published:
        for metric in row.values:
            if metric not in METRICS:
                raise EvaluationError(
                    f"protocol {path}: published, {row.row}: there is no metric {metric}. Choose from "
                    f"{', '.join(METRICS)}."
                )
    return protocol
