"""Loggers of a run: its own file of metrics, and mirrors of it (wandb, TensorBoard)."""
