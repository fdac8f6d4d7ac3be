"""Start a module of ours under `accelerate launch` and wait for it."""

import subprocess
import sys
from pathlib import Path

from models.cpu.threads import usable_cores


def launch(module: str, *arguments: str, config_file: Path | None = None) -> None:
    """`accelerate launch -m MODULE ...`: as the file says, else one process on this machine.

    Raises:
        SystemExit: with the status of a job that failed or was interrupted.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    if config_file:
        command += ["--config_file", str(config_file)]
    else:
        command += ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        # accelerate's own default of one thread per process would leave the other cores idle.
        command += ["--num_cpu_threads_per_process", str(usable_cores())]
    status = subprocess.run([*command, "-m", module, *arguments], check=False).returncode
    if status:
        sys.exit(status)
