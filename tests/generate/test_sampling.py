"""The options that generating and measuring share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generate.checkpoint import open_checkpoint, solved
from generate.errors import GenerateError
from generate.sampling import PUBLISHED, SCHEDULERS, Sampling
from models.samplers import SAMPLERS
from tests.generate.worlds import write_micro_checkpoint


def test_defaults_are_the_published_protocol(tmp_path: Path, micro_base: Path) -> None:
    """DDIM, 100 steps, no guidance; of a checkpoint from before families were noted too."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base)
    sampling = solved(PUBLISHED, open_checkpoint(run))
    assert (sampling.scheduler, sampling.steps, sampling.guidance_scale) == ("ddim", 100, 1.0)
    assert solved(PUBLISHED, replace(open_checkpoint(run), family=None)) == sampling
    assert solved(Sampling(scheduler="unipc"), open_checkpoint(run)).scheduler == "unipc"


def test_every_scheduler_that_is_offered_is_there() -> None:
    """The names on the command line are those of the networks' room."""
    assert set(SCHEDULERS) == set(SAMPLERS)


def test_seeds_of_a_run_never_meet() -> None:
    """A function of run seed, place and sample; a million patches before two of a run share one."""
    sampling = Sampling(seed=7, samples=3)
    assert [sampling.image_seed(2, sample) for sample in range(3)] == [9, 1_000_009, 2_000_009]
    assert len({sampling.image_seed(key, sample) for key in (0, 1, 999_999) for sample in range(3)}) == 9


def test_what_changes_no_image_is_not_described() -> None:
    """Batch size, and what every image's own seed says."""
    described = Sampling(size=64).described(32)
    assert described["size"] == 64
    assert Sampling().described(32)["size"] == 32
    assert not {"batch_size", "seed", "samples"} & described.keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheduler": "ddmi"}, "scheduler is ddmi; expected ddim, ddpm"),
        ({"precision": "fp16"}, "precision is fp16; expected fp32 or bf16"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"scheduler": "lcm"}, "steps is 100; expected 1 to 50 with the scheduler lcm, usually 4"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale is inf; expected 0 to 100"),
        ({"control_scale": float("inf")}, "control_scale is inf"),
        ({"control_start": float("nan")}, "control_start is nan"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"size": 2**40}, "size is 1099511627776"),
        ({"control_start": 0.6, "control_end": 0.5}, "control_end is 0.5; expected a share from control_start"),
        ({"samples": 0}, "samples is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"size": 100}, "size is 100; expected a multiple of 8"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_impossible_values_are_named(values: dict[str, Any], message: str) -> None:
    """Before any network is loaded."""
    with pytest.raises(GenerateError, match=message):
        Sampling(**values)
