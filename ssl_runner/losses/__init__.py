"""Losses as functions of tensors, in float32 whatever the precision of the network."""
