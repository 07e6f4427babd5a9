#!/bin/bash
# Bulk classification as a job array: each task classifies one shard. Submit it from the checkout, in
# the environment of requirements-bulk.txt, and submit the same line again to resume:
#
#   sbatch --array=0-15 deploy/slurm/classify_many.sh photos/ --output results/
#
# `scontrol requeue 123_4` repeats task 4 of job 123.
#SBATCH --job-name=petalscope-bulk
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=24:00:00
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export PYTHONPATH=$PWD
exec python scripts/classify_many.py "$@"
