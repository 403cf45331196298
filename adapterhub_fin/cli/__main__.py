"""Run `ahf` with `python -m adapterhub_fin.cli`."""

from adapterhub_fin.cli import main

main()
