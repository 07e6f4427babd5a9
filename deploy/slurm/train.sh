#!/bin/bash
# Training on several nodes: torchrun on each, one process per GPU. Submit it from the checkout, in
# the environment of requirements-train.txt. All nodes need the same checkout, photos and run folder:
#
#   sbatch --nodes=2 --gpus-per-node=4 deploy/slurm/train.sh --data data/oxford102 --output runs/1
#   sbatch --nodes=2 --gpus-per-node=4 deploy/slurm/train.sh --resume runs/1
#SBATCH --job-name=petalscope-train
#SBATCH --output=%x-%j.log
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
# train.py saves its state on SIGTERM; torchrun gives it 30 seconds.
#SBATCH --signal=TERM@120
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export PYTHONPATH=$PWD
# This script runs on the first node of the job. Other jobs may use the same node.
port=$((20000 + SLURM_JOB_ID % 10000))
exec srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-endpoint "$(hostname):$port" \
    scripts/train.py "$@"
