"""Self-supervised objectives: one file each, with two methods, `split` and `loss`. No objective imports another."""
