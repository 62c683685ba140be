"""Pretraining: the one LightningModule, and what happens around its steps."""
