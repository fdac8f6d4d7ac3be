"""The version of this code."""

import subprocess
from pathlib import Path


def commit() -> str:
    """Git commit of this clone, with `-dirty` if files differ from it; `unknown` outside a clone or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return "unknown"
    return result.stdout.strip() or "unknown"
