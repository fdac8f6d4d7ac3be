"""What a user reads at start-up is ours, and nothing is imported that is not used."""

import subprocess
import sys

UNUSED = ("bitsandbytes._ops", "scipy.stats._stats_py")


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
import scipy.stats, bitsandbytes
print(scipy.stats.norm.cdf(0), bitsandbytes.functional.__name__)
"""
    assert _run(code).stdout.splitlines() == ["[]", "0.5 bitsandbytes.functional"]
