"""How other libraries are imported: silently, and without what nothing here uses, which would take seconds."""

import importlib
import logging
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def later(name: str) -> None:
    """Import a module when an attribute of it is first asked for, instead of when the next module imports it."""
    spec = find_spec(name)
    if name in sys.modules or spec is None:
        return
    placeholder = ModuleType(name)
    placeholder.__spec__, placeholder.__file__ = spec, spec.origin

    def load(attribute: str) -> Any:  # noqa: ANN401 (whatever the module has)
        if sys.modules.get(name) is placeholder:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    placeholder.__dict__["__getattr__"] = load
    sys.modules[name] = placeholder


later("bitsandbytes")  # which diffusers imports for its quantizers
for module in ("scipy.stats", "scipy.integrate"):  # and for its samplers
    later(module)
importlib.import_module("transformers.utils.logging").disable_progress_bar()  # "Loading weights", a second at most
# peft imports it, and it warns of kernels that nothing here calls.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
