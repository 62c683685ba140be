"""Datasets of video."""
