"""`~` in the paths that a user writes into options and config files, where no shell has expanded it."""

import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any


def at_home(value: Any) -> Any:  # noqa: ANN401 (a setting, or dataclasses and lists of them)
    """The same with the home folder for a leading `~` of every path, and of every text that begins with `~/`."""
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    if isinstance(value, str):
        return os.path.expanduser(value) if value.startswith("~/") else value
    if isinstance(value, list):
        return [at_home(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: at_home(getattr(value, field.name)) for field in fields(value)})
    return value
