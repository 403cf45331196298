"""Hold the shipped PEFT methods, one module each."""
