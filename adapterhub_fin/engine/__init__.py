"""Everything that computes: training, inference, merging, folding and evaluation. torch is imported here alone."""

import logging

# bitsandbytes, which PEFT imports where it is installed, warns on some CPUs of an optional kernel, whatever is trained.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: "gemm_4bit_forward" not in record.msg)
