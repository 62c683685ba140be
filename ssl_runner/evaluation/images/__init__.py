"""Evaluations of images."""
