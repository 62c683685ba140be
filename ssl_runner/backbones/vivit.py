"""The Video Vision Transformer."""

from torch import Tensor, nn

from ssl_runner.backbones.vit import choose_patch, divisors
from ssl_runner.interfaces import Features, TubeEncoder, VideoSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.patches import gather_places, tubify
from ssl_runner.nn.positions import sincos_3d
from ssl_runner.nn.transformer import Transformer


class ViViT(TubeEncoder):
    """A Transformer over tubes of a clip with full attention and fixed 3-D sine-cosine positions.

    Arnab, Dehghani, Heigold, Sun, Lucic, Schmid 2021, "ViViT: A Video Vision Transformer",
    https://arxiv.org/abs/2103.15691, model 1 (attention over space and time at once) with the embedding of tubes of
    section 3.2. Differs from the paper: positions are fixed; there is no class token, `pooled` is the mean of the
    tokens that are encoded; weights are random, not those of a network trained on images.

    Frames are of one fixed size. A clip has up to as many frames as the dataset's, a multiple of `frames`, the length
    of a tube; a shorter clip takes the first positions in time. `patch: null` is chosen as `vit.choose_patch` does.
    """

    positions: Tensor  # (N, D)

    def __init__(
        self, spec: VideoSpec, *, dim: int, depth: int, heads: int, frames: int, patch: int | None, mlp_ratio: float
    ) -> None:
        super().__init__()
        if dim < 6 or dim % 6:
            raise ValueError(
                f"backbone.dim is {dim}; it must be a multiple of 6 (sines and cosines of time, row and column)"
            )
        if heads < 1 or dim % heads:
            raise ValueError(f"backbone.heads is {heads}; it must divide backbone.dim, which is {dim}")
        if depth < 1:
            raise ValueError(f"backbone.depth is {depth}; it must be at least 1")
        if round(dim * mlp_ratio) < 1:
            raise ValueError(f"backbone.mlp_ratio is {mlp_ratio}; it must be above 0")
        if frames not in divisors(spec.frames):
            raise ValueError(
                f"backbone.frames is {frames}; it must divide the clips, which are of {spec.frames} frames: set "
                f"backbone.frames to one of {', '.join(map(str, divisors(spec.frames)))}"
            )
        side = choose_patch(spec.height, spec.width) if patch is None else patch
        if side < 1 or spec.height % side or spec.width % side:
            raise ValueError(
                f"backbone.patch is {patch}; it must divide the frames, which are of {spec.height} x {spec.width} "
                "pixels; or set it to null"
            )
        self.dim = dim
        self.size = (spec.height, spec.width)
        self.tube = (frames, side, side)
        self.grid = (spec.frames // frames, spec.height // side, spec.width // side)
        self.normalize = Normalize(spec.channels)
        self.embed = nn.Linear(frames * side * side * spec.channels, dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.register_buffer("positions", sincos_3d(dim, self.grid), persistent=False)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=mlp_ratio)

    def map(self, x: Tensor) -> Tensor:
        tokens = self.forward(x).tokens
        return tokens.mT.unflatten(2, (-1, *self.grid[1:]))

    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        self._check(x)
        tubes = tubify(self.normalize(x.flatten(0, 1)).unflatten(0, x.shape[:2]), self.tube)
        positions = self.positions[: tubes.shape[1]]
        if keep is not None:
            tubes, positions = gather_places(tubes, keep), positions[keep]
        tokens = self.embed(tubes) + positions
        if layers:
            outputs = self.transformer.layers(tokens)
            means = tuple(output.mean(1) for output in outputs)
            return Features(outputs[-1], means[-1], means)
        tokens = self.transformer(tokens)
        return Features(tokens, tokens.mean(1))

    def _check(self, x: Tensor) -> None:
        """Raises ValueError for clips of a length or size that the encoder was not built for."""
        if tuple(x.shape[3:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"the frames are of {x.shape[3]} x {x.shape[4]} pixels; the encoder was built for {height} x {width}"
            )
        frames, longest = self.tube[0], self.tube[0] * self.grid[0]
        if x.shape[1] > longest or x.shape[1] % frames:
            raise ValueError(
                f"a clip has {x.shape[1]} frames; this backbone reads up to {longest}, in steps of backbone.frames, "
                f"which is {frames}"
            )
