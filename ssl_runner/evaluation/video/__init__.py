"""Evaluations of video."""
