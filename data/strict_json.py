"""Standard JSON: it has no NaN and no infinity, so non-finite numbers become null."""

import json
import math
from dataclasses import asdict
from typing import Any


def as_json(content: Any, indent: int | None = 1) -> str:  # noqa: ANN401  # any JSON value
    """The text of a file, or of a line of one (`indent` None), with its line break; dataclasses become objects."""
    return json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:  # noqa: ANN401
    """The same with None for every NaN and infinity, at any depth."""
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
