"""A plugin of ssl_runner: an objective, a backbone, a dataset, an evaluator, views and a logger, a file each.

The folder conf/ names each of them as an option; nothing is registered here.
"""

__version__ = "0.1.0"
