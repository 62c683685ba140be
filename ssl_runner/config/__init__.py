"""Configs: composition, validation against signatures, compatibility, identity."""
