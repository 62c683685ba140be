"""Evaluations of text."""
