"""Where a run writes what it measures: a file of its own, and mirrors of it (wandb, TensorBoard)."""
