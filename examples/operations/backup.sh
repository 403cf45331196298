#!/bin/sh
# Copy a registry that is being served, and the server's own folder, to TARGET:
#   AHF_HOME=/var/lib/ahf/registry sh backup.sh /var/lib/ahf/state /backup/ahf
# Most is copied while pushes go on. For the rest, which is what changed since, the server refuses changes for seconds.
set -eu
state=${1:?the folder given to ahf serve --state}
target=${2:?a folder for the copy}
: "${AHF_HOME:?the registry}"
ahf=${AHF:-ahf}

copy() {
  # The state first: it names versions, which are in the registry by then.
  rsync -a --delete --exclude=/tmp --exclude=/read-only "$state/" "$target/state/"
  rsync -a --delete --exclude=/tmp "$AHF_HOME/" "$target/registry/"
}

mkdir -p "$target/state" "$target/registry"
chmod 700 "$target/state"
copy || true # files may go away while they are copied; what fails for another reason fails again below
if [ ! -e "$state/read-only" ]; then
  trap '"$ahf" serve read-only off --state "$state"' EXIT
  "$ahf" serve read-only on --state "$state"
  sleep "${SETTLE:-5}" # one change of a repository may be under way
fi
copy
