"""The one error of this room."""


class EvaluationError(ValueError):
    """An option or folder with which nothing can be measured. The message names it, what was expected and the mend."""
