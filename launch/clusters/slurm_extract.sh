#!/usr/bin/env bash
# Fingerprints in shares under Slurm, one task of a job array for each, and joins them when all are done.
#
#   shares=$(sbatch --parsable --array=0-15 launch/clusters/slurm_extract.sh --checkpoint=/shared/run@best \
#       --source=/shared/corpus --out=/shared/store --name=db)
#   sbatch --dependency="afterok:$shares" --gpus-per-task=0 --export=ALL,JOIN=1 launch/clusters/slurm_extract.sh \
#       --checkpoint=/shared/run@best --source=/shared/corpus --out=/shared/store --name=db
#
# A share that failed is done again by its number: sbatch --array=7 --export=ALL,SHARES=16 ...
#SBATCH --job-name=nafp-extract
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail

nafp=${NAFP:-$HOME/nafp/.venv/bin/nafp}
if [[ -n ${JOIN:-} ]]; then
    exec "$nafp" extract --join "$@"
fi
# A task that is requeued goes on after the tracks that it has finished.
exec "$nafp" extract --processes="${SHARES:-$SLURM_ARRAY_TASK_COUNT}" --process="$SLURM_ARRAY_TASK_ID" "$@"
