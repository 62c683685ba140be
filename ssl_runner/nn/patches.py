"""Images as sequences of square patches, clips as sequences of tubes. Places are row-major: place i of an image is row
i // across, column i % across; of clips time comes first."""

from torch import Tensor

EPSILON = 1e-6  # added to the variance of a patch; flat patches have none


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


def tubify(x: Tensor, tube: tuple[int, int, int]) -> Tensor:
    """Cut clips in tubes of (frames, pixels down, pixels across): (B, T, C, H, W) -> (B, N, values of a tube), values
    ordered frame, row, column, channel.

    Raises ValueError where `tube` does not divide T, H and W.
    """
    b, t, c, h, w = x.shape
    frames, down, across = tube
    if t % frames or h % down or w % across:
        raise ValueError(
            f"the clip is of {t} frames of {h} x {w} pixels; tubes of {frames} frames of {down} x {across} pixels do "
            "not fill it"
        )
    x = x.reshape(b, t // frames, frames, c, h // down, down, w // across, across)
    return x.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(b, -1, frames * down * across * c)


def untubify(tubes: Tensor, tube: tuple[int, int, int], grid: tuple[int, int, int]) -> Tensor:
    """Put clips together again, the inverse of `tubify`: (B, N, values of a tube) -> (B, T, C, H, W), grid = (tubes in
    time, down, across).

    Raises ValueError where there are not as many tubes as the grid has places, or C would be no whole number.
    """
    b, n, values = tubes.shape
    (times, rows, columns), (frames, down, across) = grid, tube
    if n != times * rows * columns or values % (frames * down * across):
        raise ValueError(
            f"{n} tubes of {values} values do not make {times} x {rows} x {columns} tubes of {frames} frames of "
            f"{down} x {across} pixels"
        )
    c = values // (frames * down * across)
    x = tubes.reshape(b, times, rows, columns, frames, down, across, c)
    return x.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(b, times * frames, c, rows * down, columns * across)


def gray_patches(x: Tensor, patch: int, grid: tuple[int, int], hidden: Tensor) -> Tensor:
    """Images (B, C, H, W) of which the patches where `hidden` (B, N) holds are gray."""
    return unpatchify(patchify(x, patch).masked_fill(hidden[:, :, None], 0.5), patch, grid)


def gray_tubes(x: Tensor, tube: tuple[int, int, int], grid: tuple[int, int, int], hidden: Tensor) -> Tensor:
    """Clips (B, T, C, H, W) of which the tubes where `hidden` (B, N) holds are gray."""
    return untubify(tubify(x, tube).masked_fill(hidden[:, :, None], 0.5), tube, grid)


def gather_places(tokens: Tensor, places: Tensor) -> Tensor:
    """Gather positions, different ones per row: (B, N, D), (B, K) int64 -> (B, K, D), in the order of `places`."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def deviation(patches: Tensor) -> Tensor:
    """(B, N, values) -> (B, N, 1): the standard deviation of each patch, of two values at least, never 0. Its variance
    is the unbiased one, as in MAE's published code."""
    return (patches.var(dim=2, keepdim=True, correction=1) + EPSILON).sqrt()
