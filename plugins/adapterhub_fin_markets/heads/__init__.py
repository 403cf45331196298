"""Define heads that read numbers beside text."""
