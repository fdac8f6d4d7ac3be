"""The error type of this package."""


class GenerateError(ValueError):
    """An input or option from which no image can be made. The message names it, what was expected and the fix."""
