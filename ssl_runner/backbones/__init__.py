"""Encoders: the part of a network that is kept after pretraining."""
