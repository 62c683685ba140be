"""Self-supervised objectives: one file, one objective, two methods (`split` and `loss`). None imports another."""
