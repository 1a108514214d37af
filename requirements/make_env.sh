#!/usr/bin/env bash
# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
#
# Builds the project's environment. Finishes one that was interrupted, and
# renews one whose requirements have changed. Does nothing where one is ready.
#
#   requirements/make_env.sh [VENV]       VENV: its folder, by default .venv
#
#   PYTHON     the interpreter to build from (3.10 to 3.12); by default the
#              first of python3.11, python3.12, python3.10, python3 that works
#   MMCV_OPS   1: mmcv with its compiled ops, which other models of MMagic need;
#              0: mmcv-lite, without them and without a compiler. By default what
#              the environment has, and mmcv-lite in a new one
#   MAX_JOBS   compilers at a time for mmcv; by default what cores and memory allow
#
# The order of the steps matters: mmcv compiles its ops only where it finds
# torch, and pip also caches a wheel without them.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${1:-$root/.venv}
say_every=${ENV_SAY_EVERY:-20}  # seconds between two lines of a running step
needed_gb=9  # torch and its CUDA libraries take 6.7 of it
cd "$root"

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

elapsed() {  # seconds -> m:ss
    printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

case ${MMCV_OPS:-} in
'' | 0 | 1) ;;
*) fail "MMCV_OPS=$MMCV_OPS: give 1 (mmcv with its ops) or 0 (mmcv-lite)" ;;
esac

# --- Python, compiler, place ------------------------------------------------

fits() {  # PYTHON: is it one of the versions that work?
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
        >/dev/null 2>&1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

lacks() {  # PYTHON: prints what is missing for the environment
    local number
    number=$(version_of "$1")
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 || {
        echo "its venv module (Debian, Ubuntu: apt-get install python$number-venv)"
        return
    }
    [[ $(wanted_kind) == full ]] || return 0
    "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        echo "its C headers (Debian, Ubuntu: apt-get install python$number-dev)"
}

find_python() {  # sets $python
    local candidate missing complaint=
    # A command may exist and still not run, such as pyenv's shims.
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3}; do
        fits "$candidate" || continue
        missing=$(lacks "$candidate")
        if [[ -z $missing ]]; then
            python=$candidate
            return
        fi
        complaint=${complaint:-"$candidate lacks $missing"}
    done
    [[ -z $complaint ]] || fail "$complaint"
    if [[ -n ${PYTHON:-} ]]; then
        fail "PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12 that runs" \
            "(it says: $("$PYTHON" --version 2>&1 | head -n 1))"
    fi
    fail 'no Python 3.10, 3.11 or 3.12 found; install one, or name it: make env PYTHON=/path/to/python'
}

check_compiler() {
    # Without quotes: CXX may hold options, such as 'ccache g++'.
    # shellcheck disable=SC2086
    printf '#include <vector>\nint main() { return 0; }\n' |
        ${CXX:-c++} -std=c++17 -fsyntax-only -x c++ - >/dev/null 2>&1 ||
        fail "no C++17 compiler (${CXX:-c++}), which mmcv's ops need;" \
            "install g++ (Debian, Ubuntu: apt-get install g++) or name one: make env CXX=..."
}

check_place() {
    mkdir -p "$venv" 2>/dev/null || fail "cannot create the folder $venv"
    venv=$(cd "$venv" && pwd)
    [[ -w $venv ]] || fail "cannot write to $venv"
    if [[ ! -e $venv/pyvenv.cfg && ! -e $venv/.env-lock && -n $(ls -A "$venv") ]]; then
        fail "$venv holds something else than an environment; name another folder: make env VENV=..."
    fi
}

check_space() {
    local free
    free=$(df -Pk "$venv" | awk 'NR == 2 { print int($4 / 1048576) }')
    ((free >= needed_gb)) ||
        fail "$venv has $free GB of free disk, the environment takes $needed_gb;" \
            'name another folder: make env VENV=...'
}

# --- which mmcv ---------------------------------------------------------------

kinds_here() {  # prints lite, full, both or nothing: by pip's records, without Python
    local names=
    names=$(cd "$venv/lib" 2>/dev/null &&
        echo python*/site-packages/{mmcv_lite,mmcv}-[0-9]*.dist-info/RECORD) || return 0
    case $names in
    *'mmcv_lite-[0-9]*'*'mmcv-[0-9]*'*) ;;
    *'mmcv_lite-[0-9]*'*) echo full ;;
    *'mmcv-[0-9]*'*) echo lite ;;
    *) echo both ;;
    esac
}

wanted_kind() {
    case ${MMCV_OPS:-} in
    1) echo full ;;
    0) echo lite ;;
    *) [[ $(kinds_here) == full ]] && echo full || echo lite ;;
    esac
}

# --- the stamp ---------------------------------------------------------------

fingerprint() {  # of all that the environment is made from
    {
        echo "$root"
        readlink -f "$venv/bin/python"
        "$venv/bin/python" --version
        cat requirements/*.txt requirements/make_env.sh setup.py srdensenet_mm/version.py
    } 2>&1 | sha256sum
}

is_ready() {
    [[ -f $venv/.env-ready && -x $venv/bin/python && $(kinds_here) == $(wanted_kind) ]] &&
        [[ $(fingerprint) == "$(<"$venv/.env-ready")" ]] && fits "$venv/bin/python"
}

check_wish() {  # PYTHON only counts for a new environment
    [[ -n ${PYTHON:-} && -x $venv/bin/python ]] || return 0
    local have want
    have=$(version_of "$venv/bin/python") || return 0
    want=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON does not run"
    [[ $have == "$want" ]] ||
        fail "$venv is of Python $have, PYTHON=$PYTHON is $want;" \
            'remove that folder or name another: make env VENV=...'
}

# --- running a step ----------------------------------------------------------

child=
stop_child() {
    # The whole group, or pip's compilers would go on.
    [[ -z $child ]] || kill -TERM -- "-$child" 2>/dev/null || true
}
trap stop_child EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

explain() {  # the part of the log that the failed step wrote -> one line
    local network='Failed to establish a new connection|Temporary failure in name resolution'
    network+='|Network is unreachable|Max retries exceeded|[Tt]imed out|ProxyError|NewConnectionError'
    if grep -qE 'No space left on device' <<<"$1"; then
        echo "the disk of $venv or of ${TMPDIR:-/tmp} is full"
    elif grep -qE "$network" <<<"$1"; then
        echo 'no network: pip cannot reach its package index'
    else
        grep -E '^ *(ERROR|error|.*Error):? ' <<<"$1" | tail -n 1 | cut -c 1-300 || true
    fi
}

run() {  # COMMAND...: runs it into the log, saying from time to time how long it has been
    local begin=$SECONDS from last=0 nap=0.05 seconds done_of reason
    from=$(wc -c <"$log")
    set -m
    "$@" >>"$log" 2>&1 </dev/null &
    child=$!
    set +m
    while kill -0 "$child" 2>/dev/null; do
        sleep "$nap"
        seconds=$((SECONDS - begin))
        ((seconds < 2)) || nap=0.5
        ((seconds >= last + say_every)) || continue
        last=$seconds
        # ninja counts the files that it compiles: [12/146]
        done_of=$(tail -c "+$((from + 1))" "$log" | grep -oE '^ *\[[0-9]+/[0-9]+\]' | tail -n 1 |
            tr -d ' []' || true)
        echo "      $(elapsed "$seconds")${done_of:+, file ${done_of/\// of }}"
    done
    if ! wait "$child"; then
        child=
        reason=$(explain "$(tail -c "+$((from + 1))" "$log")")
        fail "${reason:-the command '$*' failed} (log: $log)"
    fi
    child=
}

step() {  # NUMBER TEXT
    echo "[$1/5] $2"
    printf '\n=== [%s/5] %s\n' "$1" "$2" >>"$log"
}

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check "$@"
}

pip_install() {
    run pip install --progress-bar off -c requirements/constraints.txt "$@"
}

# --- the steps -----------------------------------------------------------------

make_venv() {
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        drop_half_installed
        return
    fi
    find_python
    check_space
    echo "      from $(command -v "$python"), Python $(version_of "$python")"
    # Not --clear, which would remove the lock and the log.
    rm -rf "${venv:?}"/{bin,include,lib,lib64,share,pyvenv.cfg}
    run "$python" -m venv "$venv"
}

drop_half_installed() {
    # pip writes RECORD last: metadata without it is what an interrupted
    # installation left, and pip would take the package for complete. Packages
    # that pip was about to remove begin with a tilde.
    local site info
    for site in "$venv"/lib/python*/site-packages; do
        for info in "$site"/*.dist-info; do
            [[ ! -d $info || -e $info/RECORD ]] || rm -rf "$info"
        done
        rm -rf "$site"/~*
    done
}

check_network() {
    # In seconds, what pip itself would find out after minutes.
    "$venv/bin/python" -c 'import torch' >/dev/null 2>&1 && return
    local scratch
    scratch=$(mktemp -d)
    run pip download --progress-bar off --no-deps --retries 1 --timeout 20 --dest "$scratch" \
        -c requirements/constraints.txt setuptools
    rm -rf "$scratch"
}

has_cv2() {
    "$venv/bin/python" -c 'import cv2' >>"$log" 2>&1
}

mend_cv2() {
    # Three packages share the folder cv2, the last one installed wins, and two
    # of them need libGL, which servers and containers often lack.
    has_cv2 && return
    echo '      no libGL on this machine: using OpenCV without windows (opencv-python-headless)'
    pip_install --force-reinstall --no-deps opencv-python-headless
    has_cv2 || fail "OpenCV cannot be imported, see the end of $log"
}

has_ops() {
    "$venv/bin/python" -c 'import torch, mmcv._ext' >>"$log" 2>&1
}

default_jobs() {  # a core each, and about 1.5 GB of memory
    local cores memory
    cores=$(nproc)
    memory=$(awk '/^MemAvailable/ { print int($2 / 1572864) }' /proc/meminfo)
    echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

leave_other_mmcv() {  # PACKAGE...: both kinds share the folder mmcv, so only one may be there
    run pip uninstall --yes "$@"
}

install_lite() {
    case $(kinds_here) in
    full) echo '      taking mmcv and its ops away'; leave_other_mmcv mmcv ;;
    both) echo '      both mmcv and mmcv-lite are here: taking them away'; leave_other_mmcv mmcv mmcv-lite ;;
    esac
    pip_install -r requirements/lite.txt
}

install_full() {
    case $(kinds_here) in
    lite) echo '      taking mmcv-lite away'; leave_other_mmcv mmcv-lite ;;
    both) echo '      both mmcv and mmcv-lite are here: taking them away'; leave_other_mmcv mmcv mmcv-lite ;;
    esac
    export MAX_JOBS=${MAX_JOBS:-$(default_jobs)}
    # -v: for the count of compiled files in the log
    pip_install -v --no-build-isolation -r requirements/ops.txt
    mend_cv2
    has_ops && return
    echo '      the mmcv that pip had in its cache lacks the ops: building it again'
    pip_install -v --no-build-isolation --no-cache-dir --force-reinstall --no-deps mmcv
    has_ops || fail "mmcv was built without its ops (mmcv._ext), see the end of $log"
}

install_rest() {
    local files=() name
    for name in runtime tests optional; do
        files+=(-r "requirements/$name.txt")
    done
    pip_install --no-build-isolation "${files[@]}"
    mend_cv2
}

install_project() {
    pip_install --no-deps --no-build-isolation -e .
    run pip check
    run "$venv/bin/python" -c 'import srdensenet_mm'
}

# --- all of it -------------------------------------------------------------------

check_place
check_wish
is_ready && exit 0

exec 9>"$venv/.env-lock"
if ! flock -n 9; then
    echo "another set-up is at work on $venv: waiting for it to end"
    flock 9
    is_ready && exit 0
fi
begin=$SECONDS
log=$venv/set-up.log
rm -f "$venv/.env-ready"
: >"$log"
kind=$(wanted_kind)
[[ $kind == lite ]] || has_ops || check_compiler
echo "Setting up $venv (9 GB; details in $log)"

step 1 'virtual environment'
make_venv
step 2 'torch and build tools: about 1 minute, a download of 3 GB'
check_network
pip_install -r requirements/build.txt
if [[ $kind == full ]]; then
    step 3 'mmcv with its ops: 5 to 6 minutes on 2 cores, seconds where pip has built it before'
    install_full
else
    step 3 'mmcv-lite: seconds, nothing is compiled (mmcv with its ops: make env MMCV_OPS=1)'
    install_lite
fi
step 4 'MMagic and the rest: about 2 minutes'
install_rest
step 5 'srdensenet_mm, and a check of it all'
install_project
fingerprint >"$venv/.env-ready.new"
mv "$venv/.env-ready.new" "$venv/.env-ready"
echo "Ready after $(elapsed $((SECONDS - begin))): $venv"
