"""A network that takes all arguments of its diffusers parent and a few of its own, without repeating them."""

import inspect
from collections.abc import Callable

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def added_to(parent: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give an `__init__(self, *, own=..., **arguments)` the signature with the parent's arguments spelled out.

    diffusers reads there which keys a config has and their defaults; so does whoever asks for help.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        first, *theirs = inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]
        own = [argument for argument in inspect.signature(init).parameters.values() if argument.kind is KEYWORD]
        shown = [first, *(argument.replace(kind=KEYWORD) for argument in theirs), *own]
        init.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return init

    return decorate
