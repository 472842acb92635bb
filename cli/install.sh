#!/bin/sh
# Sets up .venv: every package by hash, then this project in place, then Kafka's jars. Says what it
# does. Ends at once when the lock and the project's settings have not changed since the last time.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.installed

say() { printf '%s\n' "install: $*" >&2; }
fail() { say "$*"; exit 1; }

# What the set-up depends on, as one word.
wanted() { cat requirements.lock pyproject.toml cli/install.sh | cksum | tr ' ' '-'; }

if [ -x $venv/bin/python ] && $venv/bin/python -c 'import orderonce_cli' 2>/dev/null &&
    [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ]; then
    exit 0
fi

# The Python that PYTHON names, else the first of the path, that is new enough and can make a
# virtual environment. A named one that does not run is an error: no other was asked for.
find_python() {
    if [ -n "${PYTHON:-}" ] && ! "$PYTHON" -c '' 2>/dev/null; then
        fail "PYTHON=$PYTHON does not run. Name another Python 3.11 or later, or leave PYTHON out."
    fi
    too_old=
    without_venv=
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
            continue
        if ! "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            too_old="$name is $version"
        elif ! "$name" -c 'import venv, ensurepip' 2>/dev/null; then
            without_venv=$name
        else
            echo "$name"
            return
        fi
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv lacks venv or ensurepip. Install them (Debian, Ubuntu: apt-get install python3-venv) and run this again."
    fi
    fail "Python 3.11 or later is needed${too_old:+ and $too_old}. Install one, or name it: make install PYTHON=/path/to/python3"
}

python=$(find_python)
rm -f $stamp
if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "1/4 virtual environment in $venv with $("$python" --version)"
    "$python" -m venv --clear $venv || fail "the virtual environment could not be made (see above)"
else
    say "1/4 virtual environment is there"
fi
say "2/4 $(grep -c '==' requirements.lock) packages of requirements.lock, each checked by its hash (a minute or two)"
# One short line per package fetched; the rest of pip's talk stands in the log.
log=$venv/install.log
: >"$log"
pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 $venv/bin/python -m pip "$@"; }
{ pip install --require-hashes -r requirements.lock 2>&1 && echo finished || echo failed; } |
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case $line in
            Collecting*) set -- $line; printf '  %s\n' "$2" >&2 ;;
            Installing*) say "    unpacking" ;;
            ERROR*) printf '  %s\n' "$line" >&2 ;;
        esac
    done
[ "$(tail -n 1 "$log")" = finished ] || fail "the packages could not be installed; all of it is in $log. Without network, or behind a proxy whose certificate this machine does not know, pip says so there."
say "3/4 orderonce itself, in place"
pip install --quiet --no-build-isolation --no-deps -e . || fail "orderonce could not be installed (see above)"
say "4/4 Kafka's jars"
$venv/bin/python -m orderonce_cli.stack.kafka jars || fail "run this again when that is mended"
wanted >$stamp
say "done"
