#!/usr/bin/env bash
# Sets up what is needed: `deploy/setup.sh gateway|wheels|demo|trial|test|bench|sbom`.
# A virtual environment in .venv with pinned packages, Debian packages for the tests, a Triton server
# in .venv-triton, MONAI Label in .venv-label, OHIF in .cache/ohif, and the Colin27 head in .cache/head.
# Everything that is there already is left alone. `wheels` fills the folder wheels/ for machines without
# package servers; there WETREAD_WHEELS=wheels deploy/setup.sh gateway asks for nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-gateway}

say() { printf '%s\n' "$*" >&2; }

# In a shell of its own, which removes again what it puts there.
debian_packages() (
    missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        say "error: these Debian packages are needed: ${missing[*]}"
        say ""
        say "hint: sudo apt-get install ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    apt-get update -qq
    # Nothing that is installed here should start a server by itself.
    printf '#!/bin/sh\nexit 101\n' >/tmp/wetread-no-services && chmod +x /tmp/wetread-no-services
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        mv /tmp/wetread-no-services "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
)

python_with_venv() {
    for candidate in python3.11 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import ensurepip' 2>/dev/null || debian_packages python3-venv
            echo "$candidate"
            return
        fi
    done
    say "error: no Python 3.11 or newer"
    say ""
    say "hint: install python3 and python3-venv"
    exit 1
}

# From the package servers that pip knows, or from the folder WETREAD_WHEELS alone.
install() {
    local from=()
    [ -z "${WETREAD_WHEELS:-}" ] || from=(--no-index --find-links "$WETREAD_WHEELS")
    .venv/bin/pip install -q --disable-pip-version-check -c constraints.txt "${from[@]}" "$@"
}

python_packages() {
    local stamp=.venv/.wetread-$1
    local wanted
    wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
    local python
    python=$(python_with_venv)
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    say "installing Python packages into .venv (the first time takes a few minutes)"
    [ -z "${WETREAD_WHEELS:-}" ] || (cd "$WETREAD_WHEELS" && sha256sum --check --quiet SHA256SUMS)
    # torch comes first and pinned, so that no other package chooses it.
    install torch setuptools
    install --no-build-isolation -e ".[$1]"
    echo "$wanted" >"$stamp"
}

head() {
    local file=.cache/head/ch2.nii.gz
    [ -f "$file" ] && return
    if ! command -v apt-get >/dev/null; then
        say "the Colin27 head comes from Debian; here, run: .venv/bin/wetread demo --study DICOM_FOLDER"
        exit 1
    fi
    say "fetching the Colin27 head (mricron-data, BSD-3)"
    mkdir -p .cache/head
    local folder
    folder=$(mktemp -d)
    # Downloading and unpacking needs no root; a fresh machine's list of packages may need it.
    (cd "$folder" && (apt-get download -qq mricron-data 2>/dev/null ||
        { apt-get update -qq && apt-get download -qq mricron-data; }) && dpkg -x mricron-data*.deb .)
    cp "$folder/usr/share/mricron/templates/ch2.nii.gz" "$file"
    rm -rf "$folder"
}

triton() {
    # The server's Python backend is linked with libpython, which Debian keeps in a package of its own.
    local shared
    shared=$(.venv/bin/python -c 'import sys, sysconfig
print(sysconfig.get_config_var("LIBDIR"), "libpython%d.%d" % sys.version_info[:2], sep="/")')
    [ -e "$shared.so.1.0" ] || debian_packages "$(basename "$shared")"
    say "the Triton server lies in $(.venv/bin/wetread triton install)"
}

label() {
    say "MONAI Label lies in $(.venv/bin/wetread label install)"
}

viewer() {
    # Only npm fetches it; another npm than Debian's will do.
    [ -f .cache/ohif/wetread-viewer.json ] || command -v npm >/dev/null || debian_packages npm
    say "OHIF lies in $(.venv/bin/wetread viewer install)"
}

# NVIDIA's parser of ONNX: it builds for a GPU without having one. Apart, since nothing else needs it.
tensorrt_parser() {
    local folder=.cache/tensorrt-rtx version=1.7.1.116
    [ -f "$folder/$version" ] && return
    say "installing TensorRT-RTX into $folder, to try the networks on (250 MB)"
    rm -rf "$folder"
    .venv/bin/pip install -q --disable-pip-version-check --no-deps --target "$folder" \
        "tensorrt-rtx-cu12-libs==$version" "tensorrt-rtx-cu12-bindings==$version"
    touch "$folder/$version"
}

# Every package of the gateway as a wheel, also those that come as source only.
wheels() {
    say "gathering wheels in wheels/"
    rm -rf wheels
    .venv/bin/pip wheel -q --disable-pip-version-check -c constraints.txt --no-build-isolation \
        --wheel-dir wheels torch setuptools ".[demo]"
    # wetread itself is installed from its folder.
    rm wheels/wetread-*.whl
    (cd wheels && sha256sum -- *.whl >SHA256SUMS)
    say "$(find wheels -name '*.whl' | wc -l) wheels, $(du -sh wheels | cut -f1)"
}

# What lists the installed packages; apart, so that it is none of them.
sbom_tool() {
    local folder=.cache/sbom version=7.5.0
    [ -f "$folder/$version" ] && return
    .venv/bin/python -m venv --clear "$folder"
    "$folder/bin/pip" install -q --disable-pip-version-check "cyclonedx-bom==$version"
    touch "$folder/$version"
}

# An S3 server for the tests, whose libraries want older ones than ours.
s3_server() {
    local folder=.cache/s3 version=5.2.5
    [ -f "$folder/$version" ] && return
    say "installing moto into $folder, an S3 server for the tests (140 MB)"
    .venv/bin/python -m venv --clear "$folder"
    "$folder/bin/pip" install -q --disable-pip-version-check "moto[s3]==$version" flask flask-cors
    touch "$folder/$version"
}

case $kind in
gateway)
    python_packages demo
    ;;
wheels)
    python_packages demo
    wheels
    ;;
sbom)
    python_packages demo
    sbom_tool
    ;;
demo)
    python_packages demo
    head
    ;;
trial)
    debian_packages orthanc orthanc-dicomweb
    python_packages demo
    viewer
    head
    ;;
test | bench)
    debian_packages dcmtk openssl poppler-utils orthanc orthanc-dicomweb chromium postgresql prometheus \
        rsyslog rsyslog-gnutls systemd haproxy
    python_packages "$kind"
    # As long as all the others, and beside them; nobody leaves while it writes.
    label &
    trap wait EXIT
    triton
    viewer
    tensorrt_parser
    sbom_tool
    s3_server
    head
    wait $!
    ;;
*)
    say "usage: deploy/setup.sh gateway|wheels|demo|trial|test|bench|sbom"
    exit 2
    ;;
esac
