"""The one error of this room: something in the user's files or options, with its mend."""


class DataError(ValueError):
    """A file, field or option is not what it should be. The message names it, what was expected and the mend."""
