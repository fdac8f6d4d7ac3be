"""Errors for the user."""


class BaseError(ValueError):
    """A base that cannot be used; the message names the file and the fix."""
