"""Take in PEFT folders and models that others trained."""
