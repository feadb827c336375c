#!/bin/sh
# Create a Debian system in a folder, from the server in this machine's apt sources. Needs root and debootstrap.
#
#   kubeflow/debian_root.sh SUITE FOLDER PACKAGE,PACKAGE...
set -eu

fail() { echo "debian_root.sh: $1" >&2; exit 2; }
[ $# = 3 ] || fail "expected: SUITE FOLDER PACKAGES"
command -v debootstrap >/dev/null || fail "debootstrap is not installed (apt-get install debootstrap)"
[ "$(id -u)" = 0 ] || fail "debootstrap needs root"

# The address of Debian's server, from this machine's apt sources in either format. The sources can include other
# vendors, so an address that ends in /debian comes first.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    awk '$1 == "URIs:" { print $2 }
         $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; break } }' |
    awk '/\/debian\/?$/ { print; found = 1; exit }
         first == "" { first = $0 }
         END { if (!found) print first }')
[ -n "$mirror" ] || fail "apt's sources name no server (looked in /etc/apt/sources.list and /etc/apt/sources.list.d)"

debootstrap --variant=minbase --include="$3" "$1" "$2" "$mirror"
rm -rf "$2/var/cache/apt" "$2/var/lib/apt/lists"
