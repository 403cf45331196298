"""Read, write and check the tensors and settings of PEFT adapters."""
