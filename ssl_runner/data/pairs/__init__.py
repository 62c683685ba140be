"""Datasets with two real views of each example."""
