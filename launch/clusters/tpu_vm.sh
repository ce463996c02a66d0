#!/usr/bin/env bash
# Trains on a slice of Cloud TPU VMs, and makes a new slice when Google takes it away. Run it in a checkout of nafp:
#
#   ZONE=us-east5-b TYPE=v6e-16 CORPUS=gs://BUCKET/corpus launch/clusters/tpu_vm.sh NAME \
#       --config=configs/full.py --workdir=gs://BUCKET/run
#
# Needs gcloud, logged in, with a project. SPOT=no asks for a slice that stays. The slice is left running at the end:
# gcloud compute tpus tpu-vm delete NAME --zone=ZONE
set -euo pipefail

name=${1:?usage: ZONE=... TYPE=... CORPUS=gs://... $0 NAME --config=... --workdir=gs://...}
shift
zone=${ZONE:?ZONE is missing, such as us-east5-b} type=${TYPE:?TYPE is missing, such as v6e-16}
corpus=${CORPUS:?CORPUS is missing, such as gs://BUCKET/corpus}
kind=(--accelerator-type="$type" --version="${IMAGE:-v2-alpha-tpuv6e}")
[[ ${SPOT:-yes} == no ]] || kind+=(--spot)

tpu() { gcloud compute tpus tpu-vm "$@" --zone="$zone" --quiet; }
state() { tpu describe "$name" --format="value(state)" 2>/dev/null || echo NONE; }

prepare() {
    case $(state) in
    READY) return ;;
    NONE) ;;
    *) tpu delete "$name" ;; # It was taken away, and never comes back.
    esac
    tpu create "$name" "${kind[@]}"
    git archive --format=tar.gz --output=/tmp/nafp.tar.gz HEAD
    tpu scp /tmp/nafp.tar.gz "$name": --worker=all
    tpu ssh "$name" --worker=all --command="tar -xzf nafp.tar.gz && make install EXTRAS=tpu,gcs && mkdir -p corpus &&
        gcloud storage rsync --recursive '$corpus' corpus"
}

# Every worker runs the same command. README.md says what these exit codes mean.
words=$(printf '%q ' --config.data.corpus=corpus "$@")
train=".venv/bin/nafp train --pod $words; code=\$?
    case \$code in 75 | 134 | 137) echo NAFP-STARTS-AGAIN ;; esac; exit \$code"

log=$(mktemp)
for ((restart = 1; restart <= ${MOST_RESTARTS:-50}; restart++)); do
    prepare
    if tpu ssh "$name" --worker=all --command="$train" 2>&1 | tee "$log"; then
        exit 0
    fi
    if [[ $(state) == READY ]] && ! grep -q NAFP-STARTS-AGAIN "$log"; then
        exit 2 # An error of the command itself, which would only come again.
    fi
    echo "starts again, for the ${restart}th time" >&2
done
exit 75
