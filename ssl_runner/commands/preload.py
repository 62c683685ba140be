"""Imported once by the process that jobs are forked from: all modules of a run, without computing anything."""
# ruff: noqa: E402, I001, F401

from ssl_runner.runtime.garbage import begin_collection, delay_collection

delay_collection()

import pytorch_lightning
import sklearn.decomposition
import sklearn.manifold
import torchvision
import wandb

import ssl_runner.commands.evaluations
import ssl_runner.commands.job
import ssl_runner.commands.run
import ssl_runner.data.any.module
import ssl_runner.evaluation.any.controls
import ssl_runner.reporting.page
import ssl_runner.training.fit
import ssl_runner.training.monitor
import torch._dynamo  # which an optimizer needs

begin_collection()  # a job shares the memory of what collection does not touch
