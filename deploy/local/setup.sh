#!/usr/bin/env bash
# Prepares this machine once: Debian's podman, podman-compose, and stand-ins for the images that a registry would have.
# Needs root, a Debian mirror and PyPI. Exit code 77: something outside the project is missing, and the last line says what.
set -uo pipefail
. "$(dirname "$0")/env.sh"

PACKAGES="podman buildah runc netavark aardvark-dns mmdebstrap busybox-static iproute2 iptables prometheus curl"
COMPOSE="podman-compose==1.6.0"
INSTALL_SECONDS=180
log=$STATE/setup.log

skip() { echo "skipped: $*"; exit 77; }

[ "$(id -u)" = 0 ] || skip "containers need root here"
command -v apt-get > /dev/null || skip "containers need Debian's packages, and there is no apt-get"
mkdir -p "$STATE" && : > "$log" || skip "$STATE cannot be written"

missing=""
for package in $PACKAGES; do
    dpkg-query --show --showformat '${Status}' "$package" 2> /dev/null | grep -q "ok installed" || missing+=" $package"
done
python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=" python3-venv"
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    { timeout $INSTALL_SECONDS apt-get update -qq && timeout $INSTALL_SECONDS apt-get install -y -qq --no-install-recommends $missing; } \
        >> "$log" 2>&1 < /dev/null || skip "Debian's packages cannot be installed:$missing ($log)"
fi
[ -x "$STATE/venv/bin/podman-compose" ] \
    || { python3 -m venv "$STATE/venv" && timeout $INSTALL_SECONDS "$STATE/venv/bin/pip" -q install $COMPOSE; } >> "$log" 2>&1 \
    || skip "$COMPOSE cannot be installed ($log)"

# overlay makes a container in half a second where vfs takes five.
cat > "$CONTAINERS_STORAGE_CONF" <<C
[storage]
driver = "overlay"
runroot = "/run/daybook-local"
graphroot = "$STATE/storage"
C
# runc, because crun fails where a machine is itself a container. Limits below the machine's, because raising them needs a
# capability that root may lack.
cat > "$CONTAINERS_CONF" <<C
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
C
podman info >> "$log" 2>&1 || skip "podman does not work on this machine ($log)"

# As the image of the registry: no lists, manuals or caches, also of packages that the Dockerfile installs.
CLEAN='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; Acquire::Languages "none";'
[ -f "$STATE/root.tar" ] || {
    timeout $INSTALL_SECONDS mmdebstrap --quiet --variant=minbase --aptopt="$CLEAN" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' trixie "$STATE/new.tar" >> "$log" 2>&1 \
        && mv "$STATE/new.tar" "$STATE/root.tar" || skip "mmdebstrap cannot make Debian trixie ($log)"
}
podman image exists docker.io/library/debian:trixie-slim || podman import -q --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$STATE/root.tar" docker.io/library/debian:trixie-slim >> "$log" 2>&1 || skip "podman cannot import an image ($log)"

# Starting a container at all, with a network and a limit, is what most machines that are containers refuse.
podman run --rm --memory 64m --read-only --cap-drop ALL docker.io/library/debian:trixie-slim true >> "$log" 2>&1 \
    || skip "podman cannot start a container on this machine ($log)"
echo "set up: $(podman --version), $($STATE/venv/bin/podman-compose --version 2> /dev/null | head -1)"
