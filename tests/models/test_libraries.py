"""What a user reads at start-up is ours, and nothing is imported that is not used."""

import subprocess
import sys

UNUSED = ("bitsandbytes._ops", "peft.tuners", "scipy.stats._stats_py", "scipy.optimize._optimize")


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)


def test_no_foreign_lines() -> None:
    """bitsandbytes, where it is installed, warns of kernels at its import; transformers has a bar for its weights."""
    code = "import models.lora; import peft; from models import load_base; load_base('tiny').load_text_encoder()"
    assert _run(code).stderr == ""


def test_what_no_training_needs_is_imported_when_it_is_asked_for() -> None:
    code = f"""
import sys, train.run
print([name for name in {UNUSED} if name in sys.modules])
import scipy.stats  # left out for diffusers' samplers
from torch import nn
from models import load_base
from models.lora import add_lora
unet = load_base("tiny").load_unet()
add_lora(unet, rank=2, alpha=2, targets=["to_q"], seed=0)
from diffusers.loaders.lora_base import BaseTunerLayer
from peft.tuners.tuners_utils import BaseTunerLayer as peft_layer
layers = [module for module in unet.modules() if isinstance(module, peft_layer)]
print(scipy.stats.norm.cdf(0), bool(layers) and all(isinstance(layer, BaseTunerLayer) for layer in layers))
print(isinstance(unet, BaseTunerLayer))
import transformers.models
from transformers.utils.import_utils import define_import_structure
print(sys.modules["transformers.models"]._class_to_module == {{
    name: file for each in define_import_structure(transformers.models.__file__).values()
    for file, names in each.items() for name in names
}})
"""
    assert _run(code).stdout.splitlines() == ["[]", "0.5 True", "False", "True"]
