#!/usr/bin/env bash
# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
# Train with several processes: NCCL on GPUs, gloo on CPUs.
#   tools/dist_train.sh CONFIG NUM_PROC [arguments of tools/train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG NUM_PROC [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1 NUM_PROC=$2
shift 2
. "$(dirname "$0")/launch.sh"
launch "$NUM_PROC" train.py "$CONFIG" "$@"
