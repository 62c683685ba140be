"""Datasets: their examples, splits and data loading."""
