#!/bin/sh
# current.sh PALMGROVE FORMAT FILE: is FILE what the program prints of itself?  With UPDATE=1 it is rewritten instead.
set -eu
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
"$1" help --format "$2" >"$fresh"
if [ -n "${UPDATE:-}" ]; then
    cp "$fresh" "$3"
elif ! diff -u "$3" "$fresh"; then
    echo "$3 is out of date: palmgrove help --format $2 > $3"
    exit 1
fi
