#!/usr/bin/env bash
# Trains under Slurm, one process for each GPU, and queues itself again when its nodes are taken away.
#
#   sbatch --nodes=2 launch/clusters/slurm.sh --config=configs/full.py --workdir=/shared/run \
#       --config.data.corpus=/shared/corpus
#
# Options of sbatch on the command line go before those below. scancel ends the run with a checkpoint, and for good.
#SBATCH --job-name=nafp-train
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@300
set -uo pipefail

most_restarts=${MOST_RESTARTS:-50}
# Every node must see this program, the corpus and the run's folder.
nafp=${NAFP:-$HOME/nafp/.venv/bin/nafp}

# Slurm's SIGTERM goes to the processes themselves, 300 s before the time is over. This script waits for them.
trap : TERM
srun --kill-on-bad-exit=1 --wait=120 "$nafp" train --pod "$@"
code=$?

# README.md says what these codes mean. A job that was cancelled, or that Slurm queues again by itself, does not run any more.
case $code in
75 | 134 | 137)
    state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
    if [[ $state == RUNNING ]] && ((${SLURM_RESTART_COUNT:-0} < most_restarts)); then
        echo "exit code $code: queued again, restart $((${SLURM_RESTART_COUNT:-0} + 1)) of $most_restarts"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    ;;
esac
exit "$code"
