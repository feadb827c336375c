#!/bin/sh
# Print the address of Debian's server, from this machine's apt sources in either format. The sources can include other
# vendors, so an address that ends in /debian comes first.
set -eu

mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    awk '$1 == "URIs:" { print $2 }
         $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; break } }' |
    awk '/\/debian\/?$/ { print; found = 1; exit }
         first == "" { first = $0 }
         END { if (!found) print first }')
[ -n "$mirror" ] || {
    echo "debian_server.sh: apt's sources name no server (looked in /etc/apt/sources.list and /etc/apt/sources.list.d)" >&2
    exit 2
}
echo "$mirror"
