"""Images as sequences of square patches. Places are row-major: place i is row i // across, column i % across."""

from torch import Tensor


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images in patches: (B, C, H, W) -> (B, N, patch * patch * C), values ordered row, column, channel.

    Raises ValueError where `patch` does not divide H and W.
    """
    b, c, h, w = x.shape
    if h % patch or w % patch:
        raise ValueError(f"the image is of {h} x {w} pixels; patches of {patch} pixels do not fill it")
    x = x.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Put images together again, the inverse of `patchify`: (B, N, patch * patch * C) -> (B, C, H, W), grid = (patches
    down, patches across).

    Raises ValueError where there are not as many patches as the grid has places, or C would be no whole number.
    """
    b, n, values = patches.shape
    down, across = grid
    if n != down * across or values % (patch * patch):
        raise ValueError(f"{n} patches of {values} values do not make {down} x {across} patches of {patch} pixels")
    c = values // (patch * patch)
    x = patches.reshape(b, down, across, patch, patch, c)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(b, c, down * patch, across * patch)


def gather_places(tokens: Tensor, places: Tensor) -> Tensor:
    """Pick places, different ones in each row: (B, N, D), (B, K) int64 -> (B, K, D), in the order of `places`."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))
