"""Datasets that the checkpoints of tests/generate/worlds.py were trained on."""

import json
from pathlib import Path

from data.dataset.manifest import FILE_NAME, FORMAT, FORMAT_VERSION

SIMULATED, XBD, OTHER = "larkmere-flooding", "hurricane-michael", "a-flood-of-ours"


def trained_on(folder: Path, *events: str) -> Path:
    """The description of a dataset with the fingerprint that the checkpoints record."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "fingerprint": "0" * 64, "splits": {}, "shards": []}
    (folder / FILE_NAME).write_text(json.dumps(manifest | {"events": {event: {} for event in events}}))
    return folder
