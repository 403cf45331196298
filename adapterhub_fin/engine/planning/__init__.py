"""Plan a run before anything is loaded: its parameters, memory and time, rehearsed on tensors without values."""
