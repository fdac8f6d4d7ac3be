"""How other libraries are imported: silently, and without what nothing here uses, which would take seconds.

Warnings that matter are kept. Whatever is left out is imported once something needs it.
"""

import importlib
import logging
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

TUNERS, HELPERS = "peft.tuners.tuners_utils", "peft.helpers"


class OfPeft(type):
    """Stands for peft's class of layers: before peft is imported, nothing is an instance of it."""

    def __instancecheck__(cls, instance: object) -> bool:
        """See `isinstance`."""
        return TUNERS in sys.modules and isinstance(instance, sys.modules[TUNERS].BaseTunerLayer)


def import_lean() -> None:
    """Import diffusers and transformers without what they import only in case that it is needed."""
    # Both ask for a map from modules to packages, for which every file of torch is looked at.
    with patch("importlib.metadata.packages_distributions", dict):
        importlib.import_module("diffusers.utils")
        importlib.import_module("transformers.utils")
    with suppress(ImportError, AttributeError):
        _import_models()
    later("bitsandbytes")  # of diffusers' quantizers
    for name in ("scipy.stats", "scipy.integrate"):  # of its samplers
        later(name)
    # Losses of detectors, which need scipy's optimizers.
    with suppress(ImportError, AttributeError), patch("transformers.utils.is_scipy_available", bool):
        importlib.import_module("transformers.loss.loss_utils")
    if "peft" in sys.modules:
        return
    stand_ins = {name: ModuleType(name) for name in (TUNERS, HELPERS)}
    stand_ins[TUNERS].__dict__["BaseTunerLayer"] = OfPeft("BaseTunerLayer", (), {})
    stand_ins[HELPERS].__dict__["disable_input_dtype_casting"] = _disable_input_dtype_casting
    sys.modules.update(stand_ins)
    with suppress(ImportError):
        importlib.import_module("diffusers.hooks")
        importlib.import_module("diffusers.loaders.lora_base")
    for name in stand_ins:
        del sys.modules[name]


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


def _import_models() -> None:
    """Import transformers' list of models without reading their thousands of files, as `transformers` has just done."""
    transformers, utils = map(importlib.import_module, ("transformers", "transformers.utils.import_utils"))
    listed = utils.define_import_structure(Path(str(transformers.__file__)).parent / "models", prefix="models")
    own = {
        needs: {name.removeprefix("models."): has for name, has in each.items() if name.startswith("models.")}
        for needs, each in listed.items()
    }
    with patch.object(utils, "define_import_structure", lambda _: own):
        importlib.import_module("transformers.models")


def _disable_input_dtype_casting(*arguments: Any) -> Any:  # noqa: ANN401 (peft's)
    return importlib.import_module(HELPERS).disable_input_dtype_casting(*arguments)


import_lean()
importlib.import_module("transformers.utils.logging").disable_progress_bar()  # "Loading weights", a second at most
# peft imports it, and it warns of kernels that nothing here calls.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
