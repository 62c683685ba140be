"""Encoders: the networks that are kept after pretraining."""
