# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
# Shared by slurm_train.sh and slurm_test.sh, which source this file.

# slurm_run PARTITION JOB_NAME TOOL ARGUMENTS...: run a tool of this folder through srun.
slurm_run() {
    local partition=$1 job_name=$2 tool=$3 tools python ntasks per_node srun_args=()
    shift 3
    tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    python=${PYTHON:-}
    if [ -z "$python" ]; then
        python=$tools/../.venv/bin/python
        [ -x "$python" ] || python=python
    fi
    local gpus=${GPUS:-8} gpus_per_node=${GPUS_PER_NODE:-8}
    local name
    for name in gpus gpus_per_node; do
        if ! [[ ${!name} =~ ^[0-9]+$ ]]; then
            echo "error: ${name^^} is '${!name}', give a number" >&2
            return 2
        fi
    done
    [ "$gpus_per_node" -le "$gpus" ] || gpus_per_node=$gpus
    ntasks=${NTASKS:-$gpus}
    if ! [[ $ntasks =~ ^[1-9][0-9]*$ ]]; then
        echo "error: NTASKS is '$ntasks', give the number of processes (without GPUs, too)" >&2
        return 2
    fi
    if [ "$gpus" -gt 0 ]; then
        srun_args+=(--gres="gpu:$gpus_per_node")
        per_node=$gpus_per_node
    else
        per_node=${NTASKS_PER_NODE:-$ntasks}
    fi
    [ -z "${PORT:-}" ] || export MASTER_PORT=$PORT
    # Options of the user's own may be several words.
    # shellcheck disable=SC2206
    srun_args+=(${SRUN_ARGS:-})
    exec srun --partition="$partition" --job-name="$job_name" --ntasks="$ntasks" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 "${srun_args[@]}" \
        "$python" -u "$tools/$tool" "$@" --launcher slurm
}
