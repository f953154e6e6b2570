#!/bin/sh
# Runs `ratchet ci` for a branch that nobody has read yet: an empty environment (so no secrets) and a network namespace
# with nothing but loopback. Where the machine allows no such namespace, it refuses.
#
#   sh infra/ci/check.sh [BASE] [OUT]
#
# Exit status: 0 no worse, 3 cannot be said, 4 worse or a case failed, anything else: it broke.
set -eu
base=${1:-main}
out=${2:-ci}
if ! unshare --user --map-root-user --net true 2>/dev/null; then
    echo "error: this machine allows no network namespace, so the branch's code is not run (kernel.unprivileged_userns_clone," >&2
    echo "or kernel.apparmor_restrict_unprivileged_userns on Ubuntu 24.04)" >&2
    exit 1
fi
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cache=${RATCHET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ratchet}
status=0
env -i PATH="$PATH" HOME="$home" LANG=C.UTF-8 RATCHET_CACHE="$cache" RATCHET_REPO="$PWD" \
    unshare --user --map-root-user --net \
    sh -c 'ip link set lo up && exec ratchet ci --base "$1" --out "$2"' check "$base" "$out" || status=$?
exit "$status"
