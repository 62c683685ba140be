"""lightly's SimCLR and MAE in a plain loop, as its examples have them: transforms in workers, its heads and losses."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ssl_runner.runtime.devices import device_of

from .networks import vit_tiny

WORKERS = 2
Loop = tuple[Callable[[], Tensor], torch.optim.Optimizer]  # a loss of the next batch, and what it trains


def simclr(images: Tensor, net: nn.Module, width: int, batch: int, dtype: torch.dtype) -> Loop:
    """SimCLR's recipe for CIFAR. `images` (n, C, H, W) uint8; `net` gives (B, width). Both views are one batch."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    device = device_of("auto")
    net = net.to(device)
    head = SimCLRProjectionHead(width, 128, 64).to(device)
    criterion = NTXentLoss(temperature=0.2)
    transform = SimCLRTransform(input_size=images.shape[2], cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    batches = _batches(images, transform, batch)

    def loss_of() -> Tensor:
        views = torch.cat(next(batches)).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            z = head(net(views))
            return criterion(*z.float().chunk(2))

    return loss_of, _adamw(net, head)


def mae(images: Tensor, batch: int, dtype: torch.dtype) -> Loop:
    """MAE on ViT-tiny; a decoder of the width and depth of ours. Images are neither cropped nor mirrored, as ours."""
    from lightly.models import utils
    from lightly.models.modules import MaskedVisionTransformerTIMM
    from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
    from torchvision.transforms.functional import to_tensor

    device = device_of("auto")
    encoder = MaskedVisionTransformerTIMM(vit=vit_tiny())
    length = encoder.sequence_length  # with the class token
    decoder = MaskedVisionTransformerDecoderTIMM(num_patches=length - 1, embed_dim=64, depth=1, num_heads=4)
    parts = nn.ModuleDict(
        {
            "encoder": encoder,
            "embed": nn.Linear(192, 64),
            "decoder": decoder,
            "predict": nn.Linear(64, 4 * 4 * 3),
        }
    ).to(device)
    batches = _batches(images, lambda image: [to_tensor(image)], batch)

    def decode(encoded: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        embedded = parts["embed"](encoded)
        known = decoder.mask_token.to(embedded.dtype).expand(len(embedded), length, -1)
        decoded = decoder(utils.set_at_index(known, keep, embedded))
        return parts["predict"](utils.get_at_index(decoded, hidden))

    def loss_of() -> Tensor:
        (x,) = (each.to(device) for each in next(batches))
        keep, hidden = utils.random_token_mask(size=(len(x), length), mask_ratio=0.75, device=device)
        target = utils.get_at_index(utils.patchify(x, 4), hidden - 1)  # less the class token
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            guess = decode(encoder.encode(images=x, idx_keep=keep), keep, hidden)
        return nn.functional.mse_loss(guess.float(), target)

    return loss_of, _adamw(parts)


def _adamw(*parts: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for part in parts for p in part.parameters()], lr=2e-3, fused=True)


def _batches(images: Tensor, transform: Callable[[Any], Any], batch: int) -> Iterator[list[Tensor]]:
    """Batches of what the transform gives of each image, drawn by two workers, without end."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms.functional import to_pil_image

    class Views(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, i: int) -> list[Tensor]:
            views: list[Tensor] = transform(to_pil_image(images[i]))
            return views

    loader = DataLoader(Views(), batch, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True)
    while True:
        yield from loader
