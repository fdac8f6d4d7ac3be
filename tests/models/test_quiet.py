"""What a user reads at start-up is ours."""

import subprocess
import sys


def test_no_foreign_lines() -> None:
    """bitsandbytes, where it is installed, warns of kernels at its import; transformers has a bar for its weights."""
    code = "import models.lora; import peft; from models import load_base; load_base('tiny').load_text_encoder()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stderr == ""
