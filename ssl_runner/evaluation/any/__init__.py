"""Evaluations for any kind of data, and code that all evaluations share."""
