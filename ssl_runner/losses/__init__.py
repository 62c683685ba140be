"""Losses as functions of tensors, computed in float32 regardless of the network's precision."""
