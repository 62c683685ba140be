"""stable-pretraining's SimCLR and MAE, as its documentation has them: its module in Lightning's Trainer.

Views are drawn by batch on the device (`gpu_transform`, with kornia), which it recommends, or image by image in two
workers, as its example for CIFAR-10 has them.
"""

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .networks import vit_tiny
from .shared import WARM

WORKERS = 2
SMALLEST = 0.2  # area of a crop
COLORS = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
Made = tuple[Any, Any]  # a module and its data
OFF = ("env_dump", "hardware_monitor", "module_summary", "progress_bar", "registry", "trainer_info", "unused_params")
PRECISIONS: dict[torch.dtype, Any] = {torch.float32: "32-true", torch.bfloat16: "bf16-mixed"}


def simclr(images: Tensor, net: nn.Module, width: int, batch: int, *, by_batch: bool) -> Made:
    """SimCLR's recipe for CIFAR: module and data. `images` (n, C, H, W) uint8; `net` gives (B, width)."""
    import stable_pretraining as spt
    from stable_pretraining.forward import simclr as forward

    module = spt.Module(
        backbone=net,
        projector=nn.Sequential(nn.Linear(width, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Linear(128, 64)),
        forward=forward,
        simclr_loss=spt.losses.NTXEntLoss(temperature=0.2),
        optim={"optimizer": {"type": "AdamW", "lr": 2e-3, "fused": True}},
    )
    side = images.shape[2]
    return module, _data(images, batch, **(_views_by_batch(side) if by_batch else _views_by_image(side)))


def mae(images: Tensor, batch: int) -> Made:
    """MAE on ViT-tiny; a decoder of the width and depth of ours. Images are neither cropped nor mirrored, as ours."""
    import stable_pretraining as spt
    from stable_pretraining.methods.mae import MAE

    def forward(self: Any, batch: dict[str, Tensor], stage: str) -> dict[str, Tensor]:
        return {"loss": self.model(batch["image"]).loss}

    model = MAE(
        vit_tiny(), decoder_embed_dim=64, decoder_depth=1, decoder_num_heads=4, mask_ratio=0.75, norm_pix_loss=False
    )
    optim = {"optimizer": {"type": "AdamW", "lr": 2e-3, "fused": True}}
    return spt.Module(model=model, forward=forward, optim=optim), _data(images, batch, workers=0)


def rate(made: Callable[[], Made], dtype: torch.dtype, steps: int) -> float:
    """Steps/s, `WARM` steps apart."""
    from lightning.pytorch.callbacks import Callback

    times: list[float] = []

    class Clock(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            times.append(time.monotonic())

    fit(made, dtype, WARM + steps, Clock())
    return steps / (times[WARM + steps - 1] - times[WARM - 1])


def fit(made: Callable[[], Made], dtype: torch.dtype, steps: int, *callbacks: Any) -> None:
    """Train for so many steps, and write and print nothing: what it records of runs by itself is off."""
    import lightning
    import stable_pretraining
    from loguru import logger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logger.disable("stable_pretraining")
    stable_pretraining.set(default_callbacks=dict.fromkeys(OFF, False))
    module, data = made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_steps=steps, precision=PRECISIONS[dtype], callbacks=list(callbacks), logger=False, limit_val_batches=0,
            num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, data)


def _views_by_batch(side: int) -> dict[str, Any]:
    from stable_pretraining.data import gpu_transforms as by_batch

    chain = by_batch.GPUCompose(
        [
            by_batch.GPURandomResizedCrop(size=side, scale=(SMALLEST, 1.0)),
            by_batch.GPURandomHorizontalFlip(p=0.5),
            by_batch.GPUColorJitter(*COLORS, p=0.8),
            by_batch.GPURandomGrayscale(p=0.2),
        ]
    )
    return {"workers": 0, "gpu_transform": by_batch.StackedMultiView(chain, n_views=2)}


def _views_by_image(side: int) -> dict[str, Any]:
    from stable_pretraining.data import transforms

    def view() -> Any:
        return transforms.Compose(
            transforms.RandomResizedCrop((side, side), scale=(SMALLEST, 1.0)),
            transforms.RandomHorizontalFlip(p=0.5),
            transforms.ColorJitter(*COLORS, p=0.8),
            transforms.RandomGrayscale(p=0.2),
        )

    return {"workers": WORKERS, "transform": transforms.MultiViewTransform([view(), view()])}


def _data(images: Tensor, batch: int, *, workers: int, transform: Any = None, gpu_transform: Any = None) -> Any:
    """Its data module over images that are floats in [0, 1] already."""
    import stable_pretraining as spt
    from torch.utils.data import DataLoader, TensorDataset

    pairs = TensorDataset(images.float().div(255), torch.zeros(len(images), dtype=torch.int64))
    dataset = spt.data.FromTorchDataset(
        pairs, names=["image", "label"], transform=transform, gpu_transform=gpu_transform, add_sample_idx=False
    )
    loader = DataLoader(
        dataset, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    return spt.data.DataModule(train=loader, val=loader)
