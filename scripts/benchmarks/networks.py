"""The networks that other libraries train, torchvision's and timm's, of the sizes of ours."""

import torch
from torch import nn


def network(backbone: str) -> tuple[nn.Module, int]:
    """A network for images of 3 x 32 x 32 that gives (B, width), and the width. Convolutions are channels last."""
    if backbone == "resnet18":
        return resnet18(), 512
    return vit_tiny(), 192


def resnet18() -> nn.Module:
    """torchvision's, with the stem for small images, 3 x 3 and without pooling, and without a classifier."""
    from torchvision.models import resnet

    net = resnet.resnet18()
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    net.fc = nn.Identity()
    return net.to(memory_format=torch.channels_last)


def vit_tiny() -> nn.Module:
    """timm's, with patches of 4 x 4, and without a classifier."""
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=0)
