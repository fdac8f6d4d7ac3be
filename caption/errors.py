"""The one error of this room."""


class CaptionError(ValueError):
    """An option, model or server by which no captions can be made. The message names it and the fix."""
