#!/usr/bin/env bash
# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
# Score a checkpoint with several processes: NCCL on GPUs, gloo on CPUs.
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_PROC [arguments of tools/test.py]
# Several machines: the same command on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT NUM_PROC [arguments of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1 CHECKPOINT=$2 NUM_PROC=$3
shift 3
. "$(dirname "$0")/launch.sh"
launch "$NUM_PROC" test.py "$CONFIG" "$CHECKPOINT" "$@"
