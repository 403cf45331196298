"""Hold the shipped plugins, which use only what a third party's plugin may use."""
