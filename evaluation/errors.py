"""The one error of this room."""


class EvaluationError(ValueError):
    """An option or folder that cannot be evaluated. The message names it, what was expected and the fix."""
