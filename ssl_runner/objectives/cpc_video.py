"""CPC for video: identify the next blocks of a clip, among others, from the blocks before."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ClipEncoder, Loss, Objective, VideoSpec, Views
from ssl_runner.losses.contrastive import info_nce, watched
from ssl_runner.losses.precision import float32
from ssl_runner.nn.frames import take
from ssl_runner.nn.gather import gather, rank


class CPCVideo(Objective[Tensor, Tensor]):
    """Identify each of the next blocks of a clip, among all next blocks of the batch, from the blocks before.

        z = f(block of frames),   c = g(z_1 ... z_P),   x = blocks 1 ... P,   y = blocks P + 1 ... P + K
        loss = mean over k = 1 ... K of  -log( e^{z_{P+k}' W_k c} / sum_z e^{z' W_k c} )          nats per prediction

    z runs over the K next blocks of every clip, a clip's own other blocks among them. g is a recurrent network (GRU).
    Products of vectors are divided by sqrt(D). Each block is a separate view, cropped and recolored independently.
    With unaugmented blocks (`objective/views=frames`) accuracy is higher, and less of their content is learned.

    van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding",
    https://arxiv.org/abs/1807.03748, eq. 4; of blocks of frames: Han, Xie, Zisserman 2019, "Video Representation
    Learning by Dense Predictive Coding", https://arxiv.org/abs/1909.04656.
    Differs from the papers: a block is one vector, not a map of them; each step ahead has its own matrix, nothing is
    predicted from predictions; each block has a crop and colors of its own (Han et al.: one crop of the whole clip,
    colors of each frame).
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        spec: VideoSpec,
        *,
        views: Views,
        block: int,
        past: int,
        ahead: int,
        context_dim: int,
    ) -> None:
        super().__init__()
        for key, value in (("block", block), ("past", past), ("ahead", ahead), ("context_dim", context_dim)):
            if value < 1:
                raise ValueError(f"objective.{key} is {value}; it must be at least 1")
        self.length = block * (past + ahead)
        if self.length > spec.frames:
            raise ValueError(
                f"objective.past is {past} and objective.ahead {ahead} blocks of objective.block={block} frames; they "
                f"need clips of at least {self.length} frames, and dataset.frames is {spec.frames}"
            )
        self.encoder = encoder
        self.views = views
        self.block = block
        self.past = past
        self.context = nn.GRU(encoder.dim, context_dim, batch_first=True)
        self.predict_ahead = nn.ModuleList(nn.Linear(context_dim, encoder.dim, bias=False) for _ in range(ahead))

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, past * block, C, h, w), y (B, ahead * block, C, h, w): from anywhere in the clip, y right after x, a
        view of each block.

        Raises ValueError for several views of a block, and for views of another number of frames.
        """
        clips = batch.data
        start = torch.randint(clips.shape[1] - self.length + 1, (len(clips), 1), device=clips.device)
        shown = take(clips, start + torch.arange(self.length, device=clips.device))
        wanted = f"each block of objective.block={self.block} frames has one view of all its frames"
        views = self.views(shown.unflatten(1, (-1, self.block)).flatten(0, 1))
        if len(views) != 1:
            raise ValueError(f"objective.views.views is {len(views)}; it must be 1: {wanted}")
        if views.shape[2] != self.block:
            raise ValueError(f"objective.views.frames is {views.shape[2]}; it must be {self.block}: {wanted}")
        shown = views[0].unflatten(0, (len(clips), -1)).flatten(1, 2)
        return shown[:, : self.past * self.block], shown[:, self.past * self.block :]

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z = self._blocks(torch.cat((x, y), dim=1))  # (B, past + ahead, D)
        before, after = z[:, : self.past], z[:, self.past :]
        context = self.context(before)[0][:, -1]
        expected = torch.stack([head(context) for head in self.predict_ahead], dim=1)
        sim = _scores(expected.flatten(0, 1), gather(after.flatten(0, 1)))
        place = torch.arange(sim.shape[1], device=sim.device)
        pos = place == rank() * len(sim) + place[: len(sim), None]
        return Loss(info_nce(sim, pos, ~pos), watched(sim.detach(), sim.detach(), pos, ~pos))

    def _blocks(self, clips: Tensor) -> Tensor:
        """(B, S * block, C, H, W) -> (B, S, D): each block encoded by itself."""
        blocks = clips.unflatten(1, (-1, self.block))
        return self.encoder(blocks.flatten(0, 1)).pooled.unflatten(0, blocks.shape[:2])


@float32
def _scores(expected: Tensor, candidates: Tensor) -> Tensor:
    """(N, D) and (M, D) -> (N, M)."""
    return expected @ candidates.T / candidates.shape[1] ** 0.5
