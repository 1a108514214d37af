# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
# Shared by dist_train.sh and dist_test.sh, which source this file.

# launch NUM_PROC TOOL ARGUMENTS...: run a tool of this folder in NUM_PROC processes.
launch() {
    local num_proc=$1 tool=$2 tools python status=0 leaves=0
    shift 2
    tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    if ! [[ $num_proc =~ ^[1-9][0-9]*$ ]]; then
        echo "error: NUM_PROC is '$num_proc', give a number of processes" >&2
        return 2
    fi
    python=${PYTHON:-}
    if [ -z "$python" ]; then
        python=$tools/../.venv/bin/python
        [ -x "$python" ] || python=python
    fi

    local nnodes=${NNODES:-1} where
    if [ "$nnodes" = 1 ] && [ -z "${PORT:-}" ]; then
        # A free port, so that two jobs on one machine do not meet.
        where=(--rdzv-backend=c10d --rdzv-endpoint=localhost:0)
    else
        where=(--nnodes="$nnodes" --node-rank="${NODE_RANK:-0}"
               --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}")
    fi

    # Processes that fail for the same reason report it once: the first that makes a file here.
    SRDENSENET_MM_JOB_DIR=$(mktemp -d)
    export SRDENSENET_MM_JOB_DIR
    # With several processes, more threads for each would only slow each other down.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

    # torchrun without its tracebacks and warnings: the processes themselves say what went wrong
    # (status 2: in one line), but for one that was killed.
    local torchrun='import logging, sys
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main
logging.disable(logging.ERROR)
try:
    main()
except SignalException as error:
    sys.exit(128 + error.sigval)
except ChildFailedError as error:
    # One that was killed rather than those that lost it.
    rank, failure = min(error.failures.items(), key=lambda item: item[1].exitcode)
    if failure.exitcode < 0:
        print(f"error: process {rank} was ended by {failure.signal_name()}; if nobody did so, "
              "main memory was full", file=sys.stderr)
    elif failure.exitcode != 2:
        print(f"error: process {rank} ended with status {failure.exitcode}", file=sys.stderr)
    sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
'

    # Its own session: it gets Ctrl-C once, through the trap below.
    $(command -v setsid || true) "$python" -c "$torchrun" --nproc-per-node="$num_proc" "${where[@]}" \
        "$tools/$tool" "$@" --launcher pytorch &
    local child=$!
    # torchrun passes signals on to its processes. These save and end. After 30 s it kills them,
    # so an iteration, or an image of a validation, must take less. torchrun's own exit status
    # does not show the signal.
    trap 'leaves=143; kill -TERM $child 2>/dev/null' TERM
    trap 'leaves=130; kill -INT $child 2>/dev/null' INT
    trap 'leaves=129; kill -TERM $child 2>/dev/null' HUP
    while :; do
        status=0
        wait "$child" || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - TERM INT HUP
    rm -rf "$SRDENSENET_MM_JOB_DIR"
    [ "$leaves" = 0 ] || status=$leaves
    return "$status"
}
