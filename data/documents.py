"""JSON files that others wrote or damaged: checked against a schema when they are opened, in bounded memory.

A reader that gets its content from here may rely on every field and type of the schema. Whatever is wrong becomes one
message: the file, the field, the value, what was expected, the fix.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from data.errors import DataError, shortened

MAX_BYTES = 256 << 20  # dataset.json of all of xBD has 20 MB; a larger file is none of ours

T = TypeVar("T")


def read_document(path: Path, schema: TypeAdapter[T], fix: str, error: type[ValueError] = DataError) -> T:
    """The content of a JSON file, if it is as the schema says.

    Args:
        path: of a regular file.
        schema: what it must hold; nesting deeper than pydantic's limit of 200 levels is refused as well.
        fix: what the user can do about a file that is not so; the last sentence of every message.
        error: what the caller's room raises.

    Raises:
        ValueError: of the kind `error`; the file is missing, unreadable, too large, or not as the schema says.
    """
    try:
        if not path.is_file():
            raise error(f"{path}: no such file. {fix}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise error(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}. {fix}")
        content = path.read_bytes()
    except OSError as cause:
        raise error(f"{path}: cannot be read ({cause.strerror}). {fix}") from None
    return parse_document(content, str(path), schema, fix, error)


def parse_document(
    content: bytes | str, where: str, schema: TypeAdapter[T], fix: str, error: type[ValueError] = DataError
) -> T:
    """The same for JSON that is read already; `where` it stands begins the message."""
    try:
        return schema.validate_json(content, strict=True)
    except ValidationError as cause:
        fault = cause.errors(include_url=False)[0]
    if fault["type"] == "json_invalid":
        raise error(f"{where}: not valid JSON ({fault['ctx']['error']}). {fix}")
    field = ".".join(map(str, fault["loc"])) or "the file"
    if fault["type"] == "missing":
        raise error(f"{where}: {field} is missing. {fix}")
    raise error(f"{where}: {field} is {shortened(fault['input'])}: {fault['msg'].lower()}. {fix}")
