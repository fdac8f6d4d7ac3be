"""The one error of this room."""


class PublishError(ValueError):
    """The message names the option, file or answer of the hub, and the fix."""
