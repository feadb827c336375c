#!/bin/sh
# Compare LiteRT on aarch64, under qemu's user-mode emulation, with this machine's runtimes.
#
#   tests/arm64.sh [COMMAND...]     [.venv/bin/pytest -s tests/components/device_check/arm64.py]
#
# build/arm64 gets a Debian Python for arm64, qemu, numpy, and ai-edge-litert, and `build/arm64/python` runs them. It is
# made when it is absent. Nothing is installed on this machine, and root isn't needed. The packages come from the servers
# in this machine's apt sources, and from pip's index.
set -eu

fail() { echo "arm64.sh: $1" >&2; exit 2; }
cd "$(dirname "$0")/.."
place=$PWD/build/arm64
[ $# -gt 0 ] || set -- .venv/bin/pytest -s tests/components/device_check/arm64.py

# fetch ARCHITECTURE SUITE COMMAND...: apt-get with a package state of its own, because it otherwise changes this machine's.
fetch() {
    architecture=$1 suite=$2
    shift 2
    echo "deb [signed-by=$keyring] $server $suite main" > "$place/apt/sources.list"
    options="-q -o APT::Architecture=$architecture -o APT::Architectures=$architecture -o APT::Sandbox::User=$(id -un)
        -o Dir::State=$place/apt -o Dir::State::status=$place/apt/status -o Dir::State::lists=$place/apt/lists
        -o Dir::Cache=$place/apt/cache -o Debug::NoLocking=1
        -o Dir::Etc::sourcelist=$place/apt/sources.list -o Dir::Etc::sourceparts=/nonexistent"
    # shellcheck disable=SC2086  # the options are words
    apt-get $options update && apt-get $options "$@"
}

command -v apt-get >/dev/null || fail "this needs Debian's apt-get, to fetch packages for arm64"

if [ ! -x "$place/python" ]; then
    rm -rf "$place"
    mkdir -p "$place/apt/lists/partial" "$place/apt/cache/archives/partial" "$place/root" "$place/host" "$place/site"
    touch "$place/apt/status"
    server=$(kubeflow/debian_server.sh)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    # qemu 7 of Debian 12 ends with a segmentation fault when LiteRT 2.2 or later loads a file; qemu 10 of Debian 13 works.
    fetch arm64 bookworm install -y --no-install-recommends --download-only python3 libstdc++6
    for package in "$place"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$place/root"; done
    (cd "$place/apt" && fetch "$(dpkg --print-architecture)" trixie download qemu-user)
    dpkg-deb -x "$place"/apt/qemu-user_*.deb "$place/host"
    version=$(basename "$(find "$place/root/usr/bin" -name 'python3.[0-9]*' | head -n 1)" | tr -d 'a-z')
    litert=$(sed -n 's/^ai-edge-litert==\([^ ]*\).*/\1/p' "requirements/tfx-1.16.lock")
    wheels=
    for glibc in 17 27 28 31 34 35 36; do wheels="$wheels --platform manylinux_2_${glibc}_aarch64"; done
    # shellcheck disable=SC2086
    ${PIP:-.uv/bin/pip} download --quiet --no-deps --only-binary=:all: $wheels --platform manylinux2014_aarch64 \
        --python-version "$version" --implementation cp --dest "$place/apt" "ai-edge-litert==$litert" "numpy<2"
    for wheel in "$place"/apt/*.whl; do python3 -m zipfile -e "$wheel" "$place/site"; done
    cat > "$place/python.part" <<EOF
#!/bin/sh
PYTHONPATH=$place/site\${PYTHONPATH:+:\$PYTHONPATH} exec $place/host/usr/bin/qemu-aarch64 -L $place/root $place/root/usr/bin/python$version "\$@"
EOF
    chmod +x "$place/python.part"
    "$place/python.part" -c 'import platform, numpy, ai_edge_litert.interpreter; print(platform.machine())'
    mv "$place/python.part" "$place/python"
fi
EDGEMILL_ARM64_PYTHON=$place/python exec "$@"
