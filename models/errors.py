"""Errors for the user."""


class BaseError(ValueError):
    """A base that cannot be used; the message names the file and the fix."""


class UnfitBase(BaseError):
    """A base of a kind that cannot be used; `models.families.check_config` adds which can."""
