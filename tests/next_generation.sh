#!/bin/sh
# The suite on the other generation: TFX 1.21 and Python 3.13, in a Debian 13 root made by debootstrap. Needs root.
#
#   tests/next_generation.sh [COMMAND...]     [make test]
#
# DEBIAN_13_ROOT names the root [build/debian-13]; it is made when it is absent, and used again with the environment in
# it. What runs there is a copy of this checkout, as a user that is not root. Certificates are taken from SSL_CERT_FILE,
# package servers and proxies from pip's, uv's and the usual variables.
set -eu

fail() { echo "next_generation.sh: $1" >&2; exit 2; }
cd "$(dirname "$0")/.."
root=${DEBIAN_13_ROOT:-build/debian-13}
user=10001
[ "$(id -u)" = 0 ] || fail "a root of another system needs root"
[ $# -gt 0 ] || set -- make test

if [ ! -d "$root" ]; then
    mkdir -p "$(dirname "$root")"
    rm -rf "$root.part"
    kubeflow/debian_root.sh trixie "$root.part" python3,python3-venv,python3-dev,g++,make,git,ca-certificates
    mv "$root.part" "$root"
fi
root=$(cd "$root" && pwd)

for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
    [ ! -f $file ] || cp $file "$root$file"
done
[ -z "${SSL_CERT_FILE:-}" ] || cp "$SSL_CERT_FILE" "$root/etc/edgemill-ca.pem"

# What git knows or would add; the environment of the last run stays.
source=$root/srv/checkout
mkdir -p "$source"
find "$source" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .uv -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
    tar --create --null --files-from - | tar --extract --directory "$source"
mkdir -p "$root/home/edgemill"
chown -R --no-dereference $user:$user "$source" "$root/home/edgemill"

environment="PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/edgemill LANG=C.UTF-8"
[ ! -f "$root/etc/edgemill-ca.pem" ] ||
    environment="$environment SSL_CERT_FILE=/etc/edgemill-ca.pem PIP_CERT=/etc/edgemill-ca.pem"
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX HTTP_PROXY HTTPS_PROXY NO_PROXY \
    http_proxy https_proxy no_proxy; do
    eval "value=\${$name:-}"
    [ -z "$value" ] || environment="$environment $name=$value"
done

# /proc and /dev are mounted in their own namespace: they go with its last process, whatever ends it.
# shellcheck disable=SC2016,SC2086  # the inner shell expands; the environment is words
exec unshare --mount --pid --fork --kill-child sh -c '
    set -eu
    root=$1 user=$2 environment=$3
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot --userspec=$user:$user "$root" /usr/bin/env -i $environment sh -c "cd /srv/checkout && exec \"\$@\"" sh "$@"
' sh "$root" $user "$environment" "$@"
