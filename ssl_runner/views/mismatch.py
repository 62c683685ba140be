"""Mismatched views: the control `shuffled_target` of objectives that compare views."""

import torch
from torch import Tensor

from ssl_runner.interfaces import another


def mismatch(views: Tensor) -> Tensor:
    """(V, B, ...) -> (V, B, ...): every view but the first is given to another example, drawn view by view."""
    return torch.cat((views[:1], misplaced(views[1:])))


def misplaced(views: Tensor) -> Tensor:
    """(V, B, ...) -> (V, B, ...): every view is given to another example, drawn view by view."""
    return torch.stack([view[another(len(view), view.device)] for view in views]) if len(views) else views
