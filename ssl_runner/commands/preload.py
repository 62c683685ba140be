"""Imported once by the process that jobs are forked from: all modules of a run, without computing anything."""

import pytorch_lightning  # noqa: F401
import sklearn.decomposition
import sklearn.manifold  # noqa: F401
import torchvision  # noqa: F401
import wandb  # noqa: F401

import ssl_runner.commands.evaluations
import ssl_runner.commands.run
import ssl_runner.data.any.module
import ssl_runner.evaluation.any.controls
import ssl_runner.reporting.page
import ssl_runner.training.fit
import ssl_runner.training.monitor  # noqa: F401
