#!/bin/sh
# Create a Debian system in a folder, from the server in this machine's apt sources. Needs root and debootstrap.
#
#   kubeflow/debian_root.sh SUITE FOLDER PACKAGE,PACKAGE...
set -eu

fail() { echo "debian_root.sh: $1" >&2; exit 2; }
[ $# = 3 ] || fail "expected: SUITE FOLDER PACKAGES"
command -v debootstrap >/dev/null || fail "debootstrap is not installed (apt-get install debootstrap)"
[ "$(id -u)" = 0 ] || fail "debootstrap needs root"

mirror=$("$(dirname "$0")/debian_server.sh")
debootstrap --variant=minbase --include="$3" "$1" "$2" "$mirror"
rm -rf "$2/var/cache/apt" "$2/var/lib/apt/lists"
