"""Errors that stop a run, before it starts or during training."""


class ConfigError(ValueError):
    """An invalid setting; the message names it and the fix."""


class TrainingError(RuntimeError):
    """The message gives the state of the run, the cause and the fix."""
