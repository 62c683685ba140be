"""Configs: composed, held against signatures, fitted together, identified."""
