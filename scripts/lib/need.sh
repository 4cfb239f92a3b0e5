# shellcheck shell=bash
# What a script needs from the machine: tools, packages, compilers. Source it; nothing runs by itself.
# SKIPPED collects, one per line, what could not be done and why.
SKIPPED=${SKIPPED:-}

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
skip() { SKIPPED="$SKIPPED$*
"; printf 'skipped: %s\n' "$*"; }

is_root() { [ "$(id -u)" = 0 ]; }
need_root() { is_root || die "needs root: $*"; }

# install_debian COMMAND=PACKAGE…: installs the package of each missing command (COMMAND may be a path);
# false when that is not possible here.
install_debian() {
    local missing='' pair
    for pair; do have "${pair%=*}" || [ -e "${pair%=*}" ] || missing="$missing ${pair#*=}"; done
    [ -n "$missing" ] || return 0
    have apt-get || { skip "what uses$missing: not installed, and this is not a Debian system"; return 1; }
    is_root || { skip "what uses$missing: not installed, and installing needs root"; return 1; }
    if [ -z "${APT_UPDATED:-}" ]; then
        apt-get update -q >/dev/null || say "apt-get update had errors; going on with the lists that are there"
        APT_UPDATED=1
    fi
    say "installing$missing"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $missing >/dev/null ||
        { skip "what uses$missing: apt-get install failed"; return 1; }
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need_rust() {
    have cargo && have rustc || die "Rust is missing. Install rustup from https://rustup.rs, then: rustup default stable"
    local version
    version=$(rustc --version | cut -d ' ' -f 2)
    version_at_least "$version" 1.89 || die "rustc $version is too old, 1.89 or newer is needed: rustup update stable"
}
need_cc() {
    have cc || die "a C compiler is missing (cc). On Debian or Ubuntu: apt-get install gcc libc6-dev"
    printf 'int main(void){return 0;}\n' | cc -x c -o /dev/null - 2>/dev/null ||
        die "cc cannot build a program. On Debian or Ubuntu: apt-get install gcc libc6-dev"
}

# The machine's own apt settings about stale mirrors, as options for the apt of a chroot.
apt_like_here() {
    apt-config dump 2>/dev/null |
        sed -n 's/^\(Acquire::Check-[A-Za-z-]*\|Acquire::http::Proxy\|Acquire::https::Proxy\) "\(..*\)";$/-o \1=\2/p' | tr '\n' ' '
}
