#!/usr/bin/env bash
# Makes what compose.yaml needs and nobody should read: passwords, and a certificate of its own for the
# dashboard. What is there stays. Into deploy/compose/secrets, or the folder that is named.
set -euo pipefail
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
cd "$folder"

password() { [ -s "$1" ] || openssl rand -hex 24 | tr -d '\n' >"$1"; }

for name in database-password orthanc-password grafana-password; do
    password "$name"
done
[ -s orthanc-users.json ] ||
    printf '{"RegisteredUsers": {"wetread": "%s"}}\n' "$(cat orthanc-password)" >orthanc-users.json
[ -s web-key ] ||
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,DNS:gateway \
        -keyout web-key -out web-certificate 2>/dev/null
# Compose mounts files as they are: whoever runs in a container must read them, and is nobody here. So the
# folder keeps others out, and not the files.
chmod 700 .
chmod 644 ./*
