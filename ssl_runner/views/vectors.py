"""Views of examples that consist of several vectors."""

from torch import Tensor

from ssl_runner.interfaces import Views


class EachVector(Views):
    """Each vector of an example is a view; deterministic."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (N, B, 1, D). Raises ValueError for examples that are no vectors."""
        if x.ndim != 3:
            raise ValueError(
                "these views are for vectors, and the data are not vectors: choose others (objective/views=natural)"
            )
        return x.transpose(0, 1)[:, :, None]
