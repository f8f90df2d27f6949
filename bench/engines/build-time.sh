#!/bin/sh
# Builds each engine's crate alone, from nothing, and says how long it took (wall, user, system seconds).
set -eu
cd "$(dirname "$0")"
cargo fetch --locked --quiet
for crate in rusqlite fjall redb; do
    target=$(mktemp -d)
    printf '%s: ' "$crate"
    begun=$(date +%s)
    cpu=$( { LC_ALL=C bash -c 'TIMEFORMAT="%U user, %S system"; time cargo build --quiet --release --locked -p "$1" --target-dir "$2"' - "$crate" "$target"; } 2>&1)
    printf '%s s wall, %s, %s crates\n' "$(($(date +%s) - begun))" "$cpu" "$(cargo tree --locked -p "$crate" -e normal,build --prefix none | sort -u | wc -l)"
    rm -rf "$target"
done
