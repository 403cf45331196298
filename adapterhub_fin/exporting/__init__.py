"""Export versions for serving engines, and report what each engine refuses; no engine needs to be installed."""
