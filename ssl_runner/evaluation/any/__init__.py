"""Evaluations of encoders of any kind, and what evaluations share."""
