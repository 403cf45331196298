#!/usr/bin/env sh
# Train a real adapter, store it, find it, and load it by its name: some two minutes on two cores, with no network.
set -eu
ahf() { printf '\n$ ahf'; printf ' %s' "$@"; printf '\n'; command ahf "$@"; }

ahf train recipes/tone.yaml
ahf alias demo/tone@1 champion
ahf list
ahf predict demo/tone@champion --file examples/unseen.txt
