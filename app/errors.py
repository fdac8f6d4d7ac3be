"""The error type of this package."""


class AppError(ValueError):
    """Something that the page cannot do with what it was given. The message says what was expected, and the fix."""
