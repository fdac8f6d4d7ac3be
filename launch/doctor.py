"""`pre2post doctor`: is this machine ready to train, and if not, what to do about it."""

import importlib.metadata
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import constants
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.disk import look
from data.errors import DataError
from data.imagery.geo import check_proj
from models.cpu.threads import usable_cores

State = Literal["ok", "note", "fix"]

PACKAGES = ("torch", "diffusers", "accelerate", "transformers", "peft", "datasets")
# What a run writes: a cache of latents and three checkpoints of a Stable Diffusion 2.1 ControlNet.
FREE_DISK_GB = 30
SHARED_MEMORY_GB = 1  # data workers pass their batches through it
OPEN_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """One check and its result."""

    topic: str
    state: State  # ok; note: worth knowing; fix: training will fail or be very slow
    text: str


class DoctorError(ValueError):
    """Something has to be fixed first."""


def doctor(*, folder: Path = Path()) -> None:
    """Check this machine and environment before a long run, and say what to fix.

    Checks packages, GPUs and their number formats, attention kernels, threads, disk, shared memory, open files and
    access to the Hugging Face hub. On a cluster run it where the training will run:
    `srun --gpus 1 .venv/bin/pre2post doctor`.

    Args:
        folder: where runs and caches will be written: reports what its disk supports.

    Raises:
        DoctorError: training would fail or be very slow here.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        packages,
        coordinates,
        gpus,
        attention,
        threads,
        lambda: disk(folder),
        shared_memory,
        open_files,
        hub,
    )
    findings = [finding for check in checks for finding in check()]
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<5} {finding.topic:<{width}}  {finding.text}")
    if bad := [finding.topic for finding in findings if finding.state == "fix"]:
        raise DoctorError(f"fix {', '.join(bad)} first (lines above that begin with `fix`).")
    print("Ready to train.")


def packages() -> Iterator[Finding]:
    """Versions; the optional ones too."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("packages", "ok", f"Python {sys.version.split()[0]}, {versions}")
    for name, use in (("xformers", "attention"), ("bitsandbytes", "8-bit AdamW")):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "note", f"not installed; only needed for {use}: pip install -e '.[{name}]'")


def coordinates() -> Iterator[Finding]:
    """Whether PROJ reads its own database: conda, QGIS and PostGIS point it to their own, of another version."""
    try:
        check_proj()
    except DataError as error:
        yield Finding("PROJ", "fix", str(error))
    else:
        yield Finding("PROJ", "ok", "coordinate systems can be read")


def gpus() -> Iterator[Finding]:
    """Every GPU by name, with its memory and whether it computes in bfloat16."""
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        text = (
            f"none: torch ({built}) sees none. Training runs on the CPU: `tiny` works, full-size bases are very slow."
        )
        yield Finding("GPU", "note", text)
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = (amount / 2**30 for amount in torch.cuda.mem_get_info(index))
        text = f"{facts.name}, {free:.0f} of {total:.0f} GiB free"
        if free < total / 2:
            yield Finding(f"GPU {index}", "fix", f"{text}: another process holds it (nvidia-smi says which).")
        elif facts.major < 8:
            yield Finding(f"GPU {index}", "note", f"{text}; no fast bfloat16: set train.precision to fp32 or fp16.")
        else:
            yield Finding(f"GPU {index}", "ok", f"{text}, bfloat16")


def attention() -> Iterator[Finding]:
    """Which kernels PyTorch's attention can use here; tested, not looked up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    query = torch.zeros(1, 8, 64, 64, device=device, dtype=torch.bfloat16)
    usable = []
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):
        try:
            with sdpa_kernel(backend):
                torch.nn.functional.scaled_dot_product_attention(query, query, query)
        except RuntimeError:
            continue
        usable.append(backend.name.removesuffix("_ATTENTION").lower())
    slow = usable == ["math"]
    hint = ": attention needs memory quadratic in the number of pixels" if slow else ""
    yield Finding("attention", "note" if slow else "ok", f"scaled_dot_product_attention: {', '.join(usable)}{hint}")


def threads() -> Iterator[Finding]:
    """Threads of one process against the cores it may use."""
    cores, used = usable_cores(), torch.get_num_threads()
    text = f"{used} per process, {cores} cores"
    if not torch.cuda.is_available() and used < cores:
        now = f"OMP_NUM_THREADS is {os.environ.get('OMP_NUM_THREADS', 'not set')}; set it to cores / processes."
        yield Finding("threads", "note", f"{text}: one process would leave cores idle. {now}")
    else:
        yield Finding("threads", "ok", text)


def disk(folder: Path) -> Iterator[Finding]:
    """Whether runs can be written, how much space there is, and what the disk supports; tested."""
    try:
        found = look(folder)
    except DataError as error:
        yield Finding("disk", "fix", str(error))
        return
    free = found.free / 1e9
    state: State = "ok" if free >= FREE_DISK_GB else "note"
    hint = "" if free >= FREE_DISK_GB else f"; a full-size run needs about {FREE_DISK_GB} GB for cache and checkpoints"
    yield Finding("disk", state, f"{free:.0f} GB free in {found.place}{hint}")
    lacks = found.lacks()
    for lack in lacks:
        yield Finding("disk", "note", f"{lack} ({found.place})")
    if not lacks:
        yield Finding("disk", "ok", "has locks and links, flushes folders")


def shared_memory() -> Iterator[Finding]:
    """Room in /dev/shm: containers give 64 MB by default, and data workers then crash without explanation."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return
    free = shutil.disk_usage(place).free / 1e9
    if free < SHARED_MEMORY_GB:
        advice = "start the container with --shm-size=8g (or --ipc=host), or set run.workers to 0"
        yield Finding("shared memory", "fix", f"{free:.2f} GB free in {place}; {advice}.")
    else:
        yield Finding("shared memory", "ok", f"{free:.0f} GB free in {place}")


def open_files() -> Iterator[Finding]:
    """The limit that many data workers run into."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        yield Finding("open files", "note", f"at most {soft}; with many workers `ulimit -n {OPEN_FILES}` first")
    else:
        yield Finding("open files", "ok", f"at most {soft}")


def hub() -> Iterator[Finding]:
    """Where weights come from: the cache, and whether the hub can be reached."""
    cache = Path(constants.HF_HUB_CACHE)
    held = sorted(path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*"))
    yield Finding("hub cache", "ok", f"{cache}: {', '.join(held) if held else 'empty'}")
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: only what is in the cache or in a folder can be loaded")
        return
    try:
        with socket.create_connection(("huggingface.co", 443), timeout=3):
            yield Finding("hub", "ok", "huggingface.co answers")
    except OSError as error:
        advice = "download the base where there is a network and pass its folder as model.base"
        yield Finding("hub", "note", f"huggingface.co does not answer ({error}); {advice}")
