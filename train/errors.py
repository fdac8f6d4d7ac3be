"""A run that must not go on."""


class TrainingError(RuntimeError):
    """The message says where the run stands, what is to blame and what to do."""
