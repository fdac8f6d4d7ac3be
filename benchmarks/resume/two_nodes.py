"""Two machines simulated on one: they train together, one is lost; what remains of the run?

    python -m benchmarks.resume.two_nodes --work WORK

Each machine is a network namespace, connected to the other by a virtual cable (iproute2, as root); where that is not
permitted both use the loopback device and no cable can be pulled. Both are started by accelerate with
launch/accelerate/two_nodes.yaml. After each loss the run is finished by one process, and its losses are compared with
those of an undisturbed run.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from jsonargparse import auto_cli

from benchmarks.results import RESULTS, write_section
from benchmarks.small_runs import REPOSITORY, Process, finish, kill, metrics, settings, write_world
from models.checkpoint import fault_of, steps_in

STEPS, LOSE_AT = 30, 8
PEER_TIMEOUT = 15  # seconds
YAML = "launch/accelerate/two_nodes.yaml"


@dataclass(frozen=True)
class Machine:
    """Where a launcher runs."""

    address: str
    interface: str
    prefix: tuple[str, ...] = ()  # of its commands


LOOPBACK = (Machine("127.0.0.1", "lo"), Machine("127.0.0.1", "lo"))


def two_nodes(*, work: Path, results: Path = RESULTS) -> None:
    """Lose one machine, then the other, then the cable, then single processes; write a section of results.

    Args:
        work: folder for everything.
        results: the file to write to.

    Raises:
        SystemExit: a run hung, left no complete checkpoint, or continued differently.
    """
    write_world(work)
    finish(settings(work, "undisturbed", train__steps=STEPS), log=work / "undisturbed.log")
    sections = []
    with ExitStack() as stack:
        machines = LOOPBACK
        if shutil.which("ip") and os.geteuid() == 0:
            machines = stack.enter_context(namespaces())
            sections.append("Two network namespaces, joined by a cable.")
        losses: dict[str, Callable[[list[Process]], None]] = {
            "second machine lost": lambda nodes: kill(nodes[1]),
            "first machine lost": lambda nodes: kill(nodes[0]),
        }
        if machines is not LOOPBACK:
            losses["cable pulled"] = lambda nodes: pull(machines[0])
        for what, lose in losses.items():
            sections.append(report(what, work, partial(lose_one, work, machines, lose)))
    for rank in (1, 0):
        sections.append(report(f"process {rank} of two killed", work, partial(kill_one, work, rank)))
    write_section("Two machines, one is lost", "```\n" + "\n".join(sections) + "\n```", results)


@contextmanager
def namespaces() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with a cable between them, for the duration of the block."""
    names = [f"pre2post-{os.getpid()}-{end}" for end in "ab"]
    cables = [f"p2p{os.getpid() % 100000}{end}" for end in "ab"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, last in zip(names, cables, (1, 2), strict=True):
            _ip("link", "set", cable, "netns", name)
            _ip("-n", name, "address", "add", f"10.231.77.{last}/30", "dev", cable)
            _ip("-n", name, "link", "set", cable, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        first, second = (
            Machine(f"10.231.77.{last}", cable, ("ip", "netns", "exec", name))
            for name, cable, last in zip(names, cables, (1, 2), strict=True)
        )
        yield first, second
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def launchers(machines: tuple[Machine, Machine]) -> list[list[str]]:
    """The command that starts one process on each machine, by the launch file; the program to run is appended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", YAML, "--num_processes", "2"]
    start += ["--main_process_ip", machines[0].address, "--main_process_port", port]
    return [[*machine.prefix, *start, "--machine_rank", str(rank)] for rank, machine in enumerate(machines)]


def lose_one(work: Path, machines: tuple[Machine, Machine], lose: Callable[[list[Process]], None], out: str) -> str:
    """Train on both machines, lose something meanwhile, wait for the others; returns how they ended."""
    logs = [work / f"{out}-node{rank}.log" for rank in (0, 1)]
    nodes = [
        _start([*launcher, *endless(work, out)], log, GLOO_SOCKET_IFNAME=machine.interface)
        for launcher, log, machine in zip(launchers(machines), logs, machines, strict=True)
    ]
    try:
        wait_for_steps(work / out, nodes)
        lose(nodes)
        return ending(nodes, logs)
    finally:
        for node in nodes:
            kill(node)


def kill_one(work: Path, rank: int, out: str) -> str:
    """SIGKILL to one of two processes on one machine."""
    log = work / f"{out}.log"
    launcher = [sys.executable, "-m", "launch.processes", "--standalone", "--nproc_per_node", "2"]
    node = _start([*launcher, *endless(work, out)], log)
    try:
        wait_for_steps(work / out, [node])
        trainers = [child for child in psutil.Process(node.pid).children() if child.environ().get("RANK") == str(rank)]
        trainers[0].kill()
        return ending([node], [log])
    finally:
        kill(node)


def endless(work: Path, out: str) -> list[str]:
    """A run that saves nothing before its end."""
    return settings(
        work, out, train__steps=STEPS, run__save_every=1000, run__keep_last=0, run__peer_timeout=PEER_TIMEOUT
    )


def wait_for_steps(out: Path, nodes: list[Process]) -> None:
    """Wait until some steps are done."""
    while not (out / "metrics.jsonl").is_file() or len(metrics(out)) < LOSE_AT:
        if any(node.poll() is not None for node in nodes):
            raise SystemExit(f"{out}: ended too early; see the logs next to it")
        time.sleep(0.01)


def ending(nodes: list[Process], logs: list[Path]) -> str:
    """Status of each launcher, and the last messages of its trainers; raises TimeoutExpired if one hangs."""
    began = time.monotonic()
    statuses = [node.wait(timeout=120) for node in nodes]
    seconds = time.monotonic() - began
    errors = [line for log in logs for line in log.read_text().splitlines() if line.startswith("error:")]
    return f"statuses {statuses} after {seconds:.0f} s\n    " + "\n    ".join(errors)


def report(what: str, work: Path, lose: Callable[[str], str]) -> str:
    """Lose something, check what remains, resume with one process, compare with the undisturbed run."""
    out = what.replace(" ", "-")
    shutil.rmtree(work / out, ignore_errors=True)
    lines = [f"{what}: {lose(out)}"]
    saved = steps_in(work / out / "checkpoints")
    faults = [fault_of(folder) for folder in saved]
    left = sorted(path.name for path in (work / out / "checkpoints").glob(".*"))
    lines.append(f"    saved {[folder.name for folder in saved]}, faults {faults}, half-written {left}")
    if not saved or any(faults):
        raise SystemExit("\n".join([*lines, "no complete checkpoint"]))
    finish(settings(work, out, train__steps=STEPS), log=work / f"{out}-resumed.log")
    ours, theirs = (by_step(metrics(work / name)) for name in (out, "undisturbed"))
    apart = max(abs(ours[step]["loss"] / theirs[step]["loss"] - 1) for step in ours)
    same = sum(ours[step]["fingerprint"] == theirs[step]["fingerprint"] for step in ours)
    lines.append(
        f"    resumed by one process: {same} of {STEPS} steps used the same examples, losses within {apart:.1e}"
    )
    # A first process that is killed may take the last line of metrics.jsonl with it.
    if len(ours) < STEPS - 1 or same != len(ours) or apart > 1e-5:
        raise SystemExit("\n".join([*lines, "it continued differently"]))
    print("\n".join(lines), flush=True)
    return "\n".join(lines)


def by_step(lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Lines of metrics.jsonl by step."""
    return {line["step"]: line for line in lines}


def pull(machine: Machine) -> None:
    """Pull the cable: no connection is closed, but nothing arrives."""
    _ip("-n", machine.prefix[-1], "link", "set", machine.interface, "down")


def _start(command: list[str], log: Path, **more: str) -> Process:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more
    with log.open("wb") as sink:
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=sink, stderr=sink)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    auto_cli(two_nodes, as_positional=False)
