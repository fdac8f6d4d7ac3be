"""Networks that take all arguments of their diffusers parent and a few of their own, without repeating them."""

import inspect
from collections.abc import Callable

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def added_to(parent: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give an `__init__(self, *, own=..., **arguments)` the parent's arguments in its signature.

    diffusers reads the keys of a config and their defaults from it, and so does `help`.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        first, *theirs = inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]
        own = [argument for argument in inspect.signature(init).parameters.values() if argument.kind is KEYWORD]
        shown = [first, *(argument.replace(kind=KEYWORD) for argument in theirs), *own]
        init.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return init

    return decorate
