"""The Slurm script under a stand-in for Slurm, and accelerate's reading of the launch files."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.fsdp import CPUOffloadPolicy

from launch.processes import status_of
from train.config import TrainConfig
from train.processes.replicas import sharding_of

ROOM = Path(__file__).parents[2] / "launch"

SRUN = """#!/usr/bin/env bash
# Four tasks on two nodes, as `srun` starts them; the highest status is the step's.
while [[ $1 == --* ]]; do echo "$1" >> srun.log; shift; done
worst=0
for task in 0 1 2 3; do
    SLURM_PROCID=$task SLURM_LOCALID=$((task % 2)) "$@"
    status=$?
    worst=$((status > worst ? status : worst))
done
exit $worst
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in
    show) printf 'node-a\\nnode-b\\n' ;;
    *) echo "$@" >> scontrol.log ;;
esac
"""
PYTHON = """#!/usr/bin/env bash
printf '%s|' "$RANK" "$LOCAL_RANK" "$WORLD_SIZE" "$MASTER_ADDR" "$MASTER_PORT" >> started.log
printf '%s|' "$OMP_NUM_THREADS" "$LOCAL_WORLD_SIZE" "$@" >> started.log
echo >> started.log
exit "$TRAINING_STATUS"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    for path, text in (("bin/srun", SRUN), ("bin/scontrol", SCONTROL), (".venv/bin/python", PYTHON)):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return tmp_path


COMMANDS = "build --source a --out b\n\ngenerate --prompt 'after a flood' --out c\n"


@pytest.mark.parametrize(
    ("task", "status", "given"),
    [
        ("1", 0, ["build", "--source", "a", "--out", "b"]),
        ("3", 0, ["generate", "--prompt", "after a flood", "--out", "c"]),
        ("2", 2, []),
        ("4", 2, []),
    ],
)
def test_a_task_of_an_array_runs_its_line(tmp_path: Path, task: str, status: int, given: list[str]) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    command = tmp_path / ".venv/bin/pre2post"
    command.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@" > started.log\n')
    command.chmod(0o755)
    (tmp_path / "commands.txt").write_text(COMMANDS)
    job = {"SLURM_ARRAY_TASK_ID": task, "SLURM_CPUS_PER_TASK": "6", "PATH": os.environ["PATH"]}
    script = ["bash", str(ROOM / "slurm" / "array.sbatch"), "commands.txt"]
    assert subprocess.run(script, cwd=tmp_path, env=job, check=False).returncode == status
    log = tmp_path / "started.log"
    assert (log.read_text().splitlines()[1:] if log.exists() else []) == given


def test_the_rented_machine_runs_what_is_here() -> None:
    sky = yaml.safe_load((ROOM / "sky" / "train.yaml").read_text())
    assert (ROOM.parent / sky["envs"]["CONFIG"]).is_file()
    assert f"\n{sky['setup'].removeprefix('make ')}:" in (ROOM.parent / "Makefile").read_text()
    settings = [word.partition(" ")[0] for word in sky["run"].split("--")[1:] if "." in word.partition(" ")[0]]
    assert settings == ["data.dataset", "run.out"]


def submit(cluster: Path, training_status: int, cores: str = "6") -> int:
    job = {
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_CPUS_PER_TASK": cores,
        "TRAINING_STATUS": str(training_status),
        "PATH": f"{cluster / 'bin'}:{os.environ['PATH']}",
    }
    script = ["bash", str(ROOM / "slurm" / "train.sbatch"), "--config", "a file.yaml"]
    return subprocess.run(script, cwd=cluster, env=job, check=False).returncode


def test_slurm_starts_one_process_per_task(cluster: Path) -> None:
    assert submit(cluster, 0) == 0
    started = [line.split("|")[:-1] for line in (cluster / "started.log").read_text().splitlines()]
    shared = ["4", "node-a", "23456", "6", "2", "-m", "train", "--config", "a file.yaml"]
    assert started == [[rank, local, *shared] for rank, local in zip("0123", "0101", strict=True)]
    assert not (cluster / "scontrol.log").exists()


@pytest.mark.parametrize(("cores", "said"), [("6", ["--cpus-per-task=6"]), ("", [])])
def test_srun_is_told_the_cores_of_a_task(cluster: Path, cores: str, said: list[str]) -> None:
    """From Slurm 22.05 to 23.02 it does not read SLURM_CPUS_PER_TASK; where that is not set, its own default holds."""
    submit(cluster, 0, cores)
    assert [word for word in (cluster / "srun.log").read_text().split() if "cpus" in word] == said


@pytest.mark.parametrize(("status", "requeued"), [(75, "requeue 123456\n"), (2, "")])
def test_slurm_requeues_an_interrupted_run_and_no_failed_one(cluster: Path, status: int, requeued: str) -> None:
    assert submit(cluster, status) == status
    log = cluster / "scontrol.log"
    assert (log.read_text() if log.exists() else "") == requeued


@pytest.mark.parametrize(
    ("name", "kind", "machines", "processes"),
    [
        ("one_gpu", "NO", 1, 1),
        ("eight_gpus", "MULTI_GPU", 1, 8),
        ("two_nodes", "MULTI_GPU", 2, 16),
        ("cpu", "MULTI_GPU", 1, 2),
        ("fsdp2", "FSDP", 1, 8),
        ("fsdp2_offload", "FSDP", 1, 1),
    ],
)
def test_accelerate_reads_the_launch_files(name: str, kind: str, machines: int, processes: int) -> None:
    config = load_config_from_file(str(ROOM / "accelerate" / f"{name}.yaml"))
    assert config.distributed_type.value == kind
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.mixed_precision == "no"


@pytest.mark.parametrize(("name", "offload"), [("fsdp2", False), ("fsdp2_offload", True)])
def test_accelerate_tells_the_trainer_to_shard(monkeypatch: pytest.MonkeyPatch, name: str, offload: bool) -> None:
    """What `accelerate launch` puts into the environment, read as the trainer does."""
    command = ["--config_file", str(ROOM / "accelerate" / f"{name}.yaml"), "-m", "train"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(command))
    for variable, value in prepare_multi_gpu_env(args).items():
        if variable.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.setenv(variable, value)
    plugin = sharding_of(TrainConfig())
    assert plugin is not None
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert isinstance(plugin.cpu_offload, CPUOffloadPolicy) is offload


@pytest.mark.parametrize(
    ("exit_codes", "status"),
    [
        ([75, 75], 75),  # everybody was asked to stop
        ([75, -9], 137),  # the second was killed, the first noticed, saved and left before torchrun looked
        ([75, -15], 75),  # the second had saved too, and torchrun ended it on its way out
        ([-15, 75, 2], 2),
        ([1], 1),
    ],
)
def test_the_status_is_that_of_the_process_that_ended_the_run(exit_codes: list[int], status: int) -> None:
    failures = [ProcessFailure(rank, 100 + rank, code, "no such file") for rank, code in enumerate(exit_codes)]
    assert status_of(failures) == status
