"""Import PEFT folders that third parties trained."""
