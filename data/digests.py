"""SHA-256 of files, however large."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes; OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
