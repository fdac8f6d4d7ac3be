"""benchmarks/RESULTS.md: a section for each benchmark, replaced when it is run again, with the machine it ran on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from data.commit import commit

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Results

`make bench` writes this file. Every section was measured in one run on the machine that it names; ratios compare
programs that alternated on it.
"""


def write_section(title: str, text: str, path: Path = RESULTS) -> None:
    """Print a section and write it to the file, replacing one with the same title.

    Args:
        title: of the section, one line.
        text: Markdown; the machine is appended.
        path: the file.
    """
    section = f"## {title}\n\n{text.strip()}\n\n{machine()}\n"
    print(section, flush=True)
    old = path.read_text() if path.is_file() else HEAD
    parts = re.split(r"^(?=## )", old, flags=re.MULTILINE)
    heads = [part.splitlines()[0] if part else "" for part in parts]
    heading = f"## {title}"
    if heading in heads:
        parts[heads.index(heading)] = section
    else:
        parts.append(section)
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")


def machine() -> str:
    """The machine properties that determine speed, in one line; nothing that identifies the machine."""
    facts = [
        torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        f"{os.cpu_count()} cores, {_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        f"{psutil.virtual_memory().total / 1e9:.0f} GB of memory",
        f"{torch.get_num_threads()} threads",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("torch", "diffusers", "accelerate")),
        f"commit {commit()[:12]}",
    ]
    return f"Machine: {', '.join(fact for fact in facts if fact)}."


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return names[0] if names else platform.machine()
