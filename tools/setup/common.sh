# Shared by `demo` and `test` in this folder: install what is missing, build.  Sourced by POSIX sh.
# Works as root and as a user with sudo; when nothing is missing it needs neither, nor the network.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

say() { printf '== %s\n' "$*"; }
fail() { printf 'palmgrove set-up: error: %s\n' "$*" >&2; exit 1; }

missing_packages() { # FILE
    sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1" | while read -r package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

install_packages() { # FILE
    command -v dpkg-query >/dev/null 2>&1 || fail "this set-up is for Debian 12; elsewhere install what $1 lists and use cmake --preset release"
    missing=$(missing_packages "$1")
    [ -n "$missing" ] || return 0
    say "installing: $missing"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "packages are missing ($missing) and there is no sudo; run this once as root"
        as_root=sudo
    fi
    $as_root apt-get -q update
    # shellcheck disable=SC2086 # a list of words on purpose
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
}

build() {
    say "building (build/release)"
    cd "$root"
    [ -f build/release/build.ninja ] || cmake --preset release
    cmake --build --preset release
}
