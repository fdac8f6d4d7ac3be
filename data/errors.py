"""The one error of this room: something in the user's files or options, with its mend."""


class DataError(ValueError):
    """A file, field or option is not what it should be. The message names it, what was expected and the mend."""


def shortened(value: object) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
