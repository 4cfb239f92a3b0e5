# shellcheck shell=bash
# Counting checks: one line per check, `ok …` or `FAIL …`, and a last line with the sums.
# Source after need.sh. Each function returns 0, so that a script goes on after a failure.
PASSED=0
FAILED=0
ok() { PASSED=$((PASSED + 1)); printf 'ok    %s\n' "$*"; }
fail() { FAILED=$((FAILED + 1)); printf 'FAIL  %s\n' "$*"; }

# check WHAT COMMAND…: ok when COMMAND works; otherwise its last lines are shown.
check() {
    local what=$1 log; shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then ok "$what"; else fail "$what"; tail -n 6 "$log" | sed 's/^/        /'; fi
    rm -f "$log"
}

# same WHAT A B: ok when both texts are equal and not empty.
same() {
    if [ -n "$2" ] && [ "$2" = "$3" ]; then ok "$1"; else fail "$1"; printf '        %s\n        %s\n' "${2:-(nothing)}" "${3:-(nothing)}"; fi
}

finish() {
    printf '%s passed, %s failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" = 0 ]
}
