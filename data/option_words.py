"""What jsonargparse says of a value of the wrong type, in the user's words instead of Python's."""

import re

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list such as [a, b]",
    "dict": "names with values such as {a: 1}",
    "Path": "a path",
}


def mismatch(message: str) -> tuple[str, str] | None:
    """(given, expected) of the parser's message; None if it is about something else."""
    given = re.search(r"(?:Given|Got) value: (.*)", message)
    kinds = [KINDS[kind] for kind in re.findall(r"(?:<class '|Not of type )(\w+)", message) if kind in KINDS]
    choices = re.findall(r"'([^']+)'", " ".join(re.findall(r"Literal\[(.*?)\]", message)))
    expected = " or ".join(dict.fromkeys([*choices, *kinds]))
    if not expected or "Problem with given class_path" in message:
        return None
    return (given[1] if given else "", expected)
