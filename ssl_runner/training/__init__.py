"""Pretraining: the LightningModule, and callbacks around its steps."""
