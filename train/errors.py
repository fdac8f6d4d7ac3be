"""What stops a run: before it starts, and on its way."""


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and the mend."""


class TrainingError(RuntimeError):
    """The message says where the run stands, what is to blame and what to do."""
