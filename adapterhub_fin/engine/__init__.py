"""Everything that computes: training, inference, merging, folding and evaluation. torch is imported here alone."""

import logging

# bitsandbytes, which PEFT imports where it is installed, warns at its import that a faster kernel for four-bit weights
# is missing on this CPU: of no use to the many who load none.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
