"""JSON files that others wrote or damaged: checked against a schema when they are opened, in bounded memory.

A reader that gets its content from here may rely on every field and type of the schema. Whatever is wrong becomes one
message: the file, the field, the value, what was expected, the fix. Fields that a schema does not name are left out.
"""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from data.errors import DataError, shortened

MAX_BYTES = 64 << 20  # dataset.json of all of xBD has 20 MB; a larger file is not ours
MOST_PARTS = 2_000_000  # lists and objects: a bracket of one byte becomes a hundred bytes of memory and more
MOST_FAULTS = 1000  # of which the first is named; listing millions would take minutes
LONGEST_FIELD = 80  # characters of a field's name that are shown as they are
BOM = b"\xef\xbb\xbf"  # Windows editors begin a file with it

T = TypeVar("T")
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def read_document(path: Path, schema: TypeAdapter[T], fix: str, error: type[ValueError] = DataError) -> T:
    """The content of a JSON file that matches the schema.

    Args:
        path: of a regular file.
        schema: what it must hold; nesting deeper than pydantic's limit of 200 levels is refused as well.
        fix: what the user can do about a file that does not match; the last sentence of every message.
        error: what the caller's room raises.

    Raises:
        ValueError: of the kind `error`; the file is missing, unreadable, too large, or does not match the schema.
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
    """The same for JSON that has been read already; messages begin with `where`."""
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    if (parts := content.count(b"[") + content.count(b"{")) > MOST_PARTS:
        raise error(f"{where}: {parts:,} lists and objects, expected at most {MOST_PARTS:,}. {fix}")
    try:
        return schema.validate_json(content.removeprefix(BOM), strict=True)
    except ValidationError as cause:
        if (faults := cause.error_count()) > MOST_FAULTS:
            raise error(f"{where}: {faults:,} values in it are invalid. {fix}") from None
        fault = cause.errors(include_url=False)[0]
    if fault["type"] == "json_invalid":
        raise error(f"{where}: not valid JSON ({fault['ctx']['error']}). {fix}")
    field = ".".join(map(str, fault["loc"])) or "the file"
    field = field if field.isprintable() and len(field) <= LONGEST_FIELD else shortened(field)
    if fault["type"] == "missing":
        raise error(f"{where}: {field} is missing. {fix}")
    raise error(f"{where}: {field} is {shortened(fault['input'])}: {fault['msg'].lower()}. {fix}")
