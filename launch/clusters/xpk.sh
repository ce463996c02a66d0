#!/usr/bin/env bash
# Trains on TPUs of a GKE cluster that XPK made (pip install xpk), and starts again when nodes are taken away.
#
#   CLUSTER=my-cluster ZONE=us-east5-b TYPE=v6e-16 IMAGE=REGION-docker.pkg.dev/PROJECT/nafp/train \
#       launch/clusters/xpk.sh NAME --config=/nafp/configs/full.py --workdir=gs://BUCKET/run \
#       --config.data.corpus=/gcs/corpus
#
# The image holds nafp[tpu,gcs]. README.md says how to build it, and how /gcs gets into it.
set -euo pipefail

name=${1:?usage: CLUSTER=... ZONE=... TYPE=... IMAGE=... $0 NAME --config=... --workdir=gs://...}
shift
words=$(printf '%q ' "$@")

# XPK restarts at exit codes 42 and 127 to 255 by itself. 75 is how nafp asks for it.
exec xpk workload create \
    --workload="$name" \
    --cluster="${CLUSTER:?CLUSTER is missing}" \
    --zone="${ZONE:?ZONE is missing, such as us-east5-b}" \
    --tpu-type="${TYPE:?TYPE is missing, such as v6e-16}" \
    --num-slices="${SLICES:-1}" \
    --docker-image="${IMAGE:?IMAGE is missing}" \
    --max-restarts="${MOST_RESTARTS:-50}" \
    --restart-on-exit-codes=75 \
    --termination-grace-period-seconds=300 \
    --command="nafp train --pod $words"
