"""Silences start-up lines of other libraries that mean nothing to our users; warnings that matter are kept."""

import logging

from transformers.utils.logging import disable_progress_bar

# peft imports it, and it warns of kernels that nothing here calls.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
disable_progress_bar()  # "Loading weights", of a fraction of a second, for each text encoder
