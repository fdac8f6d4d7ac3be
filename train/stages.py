"""The curriculum: which dataset, resolution and batch a step has. Pure functions of the step (law 2)."""

from dataclasses import dataclass
from pathlib import Path

from train.config import Config


@dataclass(frozen=True)
class Stage:
    """A range of optimizer steps with one dataset, resolution and batch."""

    first_step: int
    last_step: int  # exclusive
    first_ordinal: int  # examples drawn before `first_step`
    dataset: Path
    resolution: int | None  # px; None = as the dataset was built
    global_batch: int
    micro_batch: int
    micro_batch_setting: str  # that says so

    def ordinal(self, step: int) -> int:
        """The first example of a step of this stage."""
        return self.first_ordinal + (step - self.first_step) * self.global_batch


def stages_of(config: Config) -> list[Stage]:
    """Every stage of a run, the first one from step 0; what a later one omits stays as before."""
    data, train = config.data, config.train
    starts = [0, *(stage.from_step for stage in train.curriculum)]
    ends = [*starts[1:], train.steps]
    batches = train.global_batch, train.micro_batch, "train.micro_batch"
    stages = [Stage(0, ends[0], 0, data.dataset, data.resolution, *batches)]
    for number, (first, last, change) in enumerate(zip(starts[1:], ends[1:], train.curriculum, strict=True)):
        before = stages[-1]
        stages.append(
            Stage(
                first_step=first,
                last_step=last,
                first_ordinal=before.ordinal(first),
                dataset=change.dataset or before.dataset,
                resolution=change.resolution or before.resolution,
                global_batch=change.global_batch or before.global_batch,
                micro_batch=change.micro_batch or before.micro_batch,
                micro_batch_setting=f"micro_batch of train.curriculum[{number}]"
                if change.micro_batch
                else before.micro_batch_setting,
            )
        )
    return stages


def stage_at(stages: list[Stage], step: int) -> int:
    """Number of the stage of a step; after the end, the last."""
    return next((number for number, stage in enumerate(stages) if step < stage.last_step), len(stages) - 1)
