#!/usr/bin/env bash
# Writes the digest of every image into deploy/images.env, or into the file that is named. Run it again
# to move on to what the tags name then.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-deploy/images.env}

digest_of() {
    if command -v skopeo >/dev/null; then
        skopeo inspect --format '{{.Digest}}' "docker://$1"
    elif command -v docker >/dev/null; then
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
    else
        printf 'error: neither skopeo nor docker is here\n\nhint: install one of them\n' >&2
        exit 1
    fi
}

pinned=$(mktemp "$file.XXXXXX")
trap 'rm -f "$pinned"' EXIT
while IFS= read -r line; do
    if [[ $line =~ ^([A-Z]+_IMAGE)=([^@]+) ]]; then
        name=${BASH_REMATCH[1]} image=${BASH_REMATCH[2]}
        digest=$(digest_of "$image")
        if ! [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
            printf 'error: %s: %s is no digest\n\nhint: is the tag right, and the catalogue in reach?\n' \
                "$image" "${digest:-nothing}" >&2
            exit 1
        fi
        line="$name=$image@$digest"
    fi
    printf '%s\n' "$line"
done <"$file" >"$pinned"
chmod 644 "$pinned"
mv "$pinned" "$file"
grep _IMAGE= "$file"
