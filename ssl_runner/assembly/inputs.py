"""The input of an encoder from what people have: tensors, arrays, pictures, strings; one example or many.

Whatever is ambiguous or out of range is refused, with what would be right. B batch, T frames or tokens, C channels.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.text.data import encodings, padded
from ssl_runner.interfaces import DataSpec, ImageSpec, TextSpec, VectorSpec, VideoSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLACK = 1e-4  # beyond [0, 1], of rounding

Say = Callable[..., None]  # a remark and the values in it, as in `logging`; each remark once


# --------------------------------------------------------------------------------------------------------------- images


def images(given: Any, spec: ImageSpec, *, resize: bool, say: Say) -> Tensor:
    """(B, C, H, W) float in [0, 1], of the size in `spec` with `resize`. Raises ValueError."""
    if _is_picture(given):
        given = [given]
    if isinstance(given, Sequence):
        parts = [_image(each, spec, say) for each in _some(given)]
        return _stacked([_fitted(part, spec, resize, say) for part in parts], "images")
    return _fitted(_unit(_channels_first(given, spec.channels, 3)), spec, resize, say)


def clips(given: Any, spec: VideoSpec, *, resize: bool, say: Say) -> Tensor:
    """(B, T, C, H, W) float in [0, 1]. A list of pictures is one clip. Raises ValueError."""
    if not isinstance(given, Sequence):
        return _fitted(_unit(_channels_first(given, spec.channels, 4)), spec, resize, say)
    several = [each for each in _some(given) if isinstance(each, Sequence) or np.ndim(each) > 3]
    if len(several) not in (0, len(given)):
        raise ValueError("frames and clips were given in one list; give a list of frames, or a list of clips")
    if several:
        return _stacked([clips(each, spec, resize=resize, say=say)[0] for each in several], "clips")
    frame = ImageSpec(channels=spec.channels, height=spec.height, width=spec.width)
    return images(given, frame, resize=resize, say=say)[None]


def _image(given: Any, spec: ImageSpec, say: Say) -> Tensor:
    """(1, C, H, W) float in [0, 1]: one image, of any size."""
    if not _is_picture(given):
        found = _channels_first(given, spec.channels, 3)
        if len(found) != 1:
            raise ValueError(f"a list of arrays of shape {tuple(np.shape(given))} was given; each must be one image")
        return _unit(found)
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(given)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"the picture's mode is {picture.mode}, whose range is unknown; convert it to 8 bits a channel"
        )
    modes = {1: "L", 3: "RGB"}
    if spec.channels not in modes:
        raise ValueError(f"a picture was given, and the encoder reads {spec.channels} channels; give an array")
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    mode = modes[spec.channels]
    if picture.mode != mode:
        say("pictures of mode %s are converted to %s, as the encoder reads them", picture.mode, mode)
    pixels = torch.from_numpy(np.array(picture.convert(mode)))
    return _unit(pixels.view(1, picture.height, picture.width, spec.channels).permute(0, 3, 1, 2))


def _is_picture(given: Any) -> bool:
    from PIL import Image

    return isinstance(given, Image.Image)


def _channels_first(given: Any, channels: int, axes: int) -> Tensor:
    """(B, ..., C, H, W) from an array with channels first or last, with or without B; gray ones also without channels.

    `axes`: of one example, 3 of an image and 4 of a clip. A tensor whose channels could be first or last has them
    first, as everywhere in torch; of an array that is not known. Raises ValueError.
    """
    x = given if isinstance(given, Tensor) else _tensor(given)
    first, last = _has(x, -3, channels), _has(x, -1, channels)
    if x.ndim in (axes, axes + 1) and first and last and not isinstance(given, Tensor):
        raise ValueError(
            f"an array of shape {tuple(x.shape)} was given, whose channels could be first or last; give a tensor with "
            "the channels first"
        )
    if x.ndim in (axes, axes + 1) and (first or last):
        x = x if first else x.movedim(-1, -3)
        return x[None] if x.ndim == axes else x
    if channels == 1 and x.ndim in (axes - 1, axes):  # (H, W), (B, H, W)
        x = x.unsqueeze(-3)
        return x[None] if x.ndim == axes else x
    letters = "T, " * (axes - 3)
    raise ValueError(
        f"an array of shape {tuple(x.shape)} was given; this encoder reads {channels} channels: "
        f"(B, {letters}{channels}, H, W) or (B, {letters}H, W, {channels}), or one of them without B"
    )


def _has(x: Tensor, axis: int, size: int) -> bool:
    return x.ndim >= -axis and x.shape[axis] == size


def _tensor(given: Any) -> Tensor:
    try:
        array = np.ascontiguousarray(given) if np.ndim(given) else np.asarray(given)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"a {type(given).__name__} was given, which is no array of numbers") from error


def _unit(x: Tensor) -> Tensor:
    """Float in [0, 1] of uint8, or of such floats. Raises ValueError for others."""
    if x.dtype == torch.uint8:
        return x.float().div_(255)
    if not x.is_floating_point():
        raise ValueError(f"values of type {x.dtype} were given; give uint8, or floats in [0, 1]")
    if x.numel():
        low, high = (value.item() for value in x.detach().aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise ValueError(
                f"floats from {low:g} to {high:g} were given; give uint8, or floats in [0, 1]: the encoder normalizes "
                "by itself"
            )
    return x.float()


def _fitted(x: Tensor, spec: ImageSpec | VideoSpec, resize: bool, say: Say) -> Tensor:
    """Images or clips of the size in `spec`: the center is cut out to its proportions and resized, bicubic."""
    height, width = x.shape[-2:]
    if not resize or (height, width) == (spec.height, spec.width):
        return x
    if not height or not width:
        raise ValueError(f"images of {height} x {width} pixels were given")
    say(
        "images of %d x %d pixels are resized to %d x %d, the size that this encoder was pretrained on (said once); "
        "load_encoder(..., resize=False) leaves them as they are",
        *(height, width, spec.height, spec.width),
    )
    scale = min(height / spec.height, width / spec.width)
    down, across = max(1, round(scale * spec.height)), max(1, round(scale * spec.width))
    top, left = (height - down) // 2, (width - across) // 2
    cut = x[..., top : top + down, left : left + across].flatten(0, -4)
    small = F.interpolate(cut, (spec.height, spec.width), mode="bicubic", antialias=True).clamp(0, 1)
    return small.unflatten(0, x.shape[:-3])


# -------------------------------------------------------------------------------------------------------------- vectors


def vectors(given: Any, spec: VectorSpec) -> Tensor:
    """(B, N, D) float. Raises ValueError."""
    if isinstance(given, Sequence):
        x = _stacked([_tensor(each) if not isinstance(each, Tensor) else each for each in _some(given)], "sets")
    else:
        x = given if isinstance(given, Tensor) else _tensor(given)
    if x.ndim not in (2, 3) or x.shape[-1] != spec.width or not x.is_floating_point():
        raise ValueError(
            f"an array of {x.dtype} and shape {tuple(x.shape)} was given; this encoder reads floats of shape "
            f"(B, N, {spec.width}), or (N, {spec.width})"
        )
    return (x[None] if x.ndim == 2 else x).float()


# ---------------------------------------------------------------------------------------------------------------- texts


def texts(given: Any, spec: TextSpec, tokenizer: Callable[[], "Tokenizer"], reach: int | None, say: Say) -> Tensor:
    """(B, T) int64 ids: of strings [CLS] tokens [SEP] and PAD; lists of ids are padded. Raises ValueError.

    `reach`: the tokens after which a string is cut; None: none.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Sequence) and all(isinstance(each, str) for each in _some(given)):
        rows = [each.ids for each in encodings(tokenizer(), given)]
        most = max(map(len, rows)) + 2 if reach is None else reach
        if any(len(row) + 2 > most for row in rows):
            say("texts of more than %d tokens are cut, the most that this encoder was pretrained on", most)
        special = spec.special
        return spec.to_input(padded([[special.cls, *row[: most - 2], special.sep] for row in rows], special.pad))
    if isinstance(given, Sequence) and not all(isinstance(each, int) for each in given):
        given = padded([_ids(each, spec).tolist() for each in given], spec.special.pad)
    x = _ids(given, spec)
    if x.ndim not in (1, 2):
        raise ValueError(f"ids of shape {tuple(x.shape)} were given; this encoder reads (B, T), or (T,)")
    return spec.to_input(x[None] if x.ndim == 1 else x)


def _ids(given: Any, spec: TextSpec) -> Tensor:
    x = given if isinstance(given, Tensor) else _tensor(given)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"values of type {x.dtype} were given; this encoder reads strings, or ids of its tokenizer")
    if x.numel():
        low, high = (int(value) for value in x.aminmax())
        if low < 0 or high >= spec.vocabulary:
            raise ValueError(
                f"ids from {low} to {high} were given; those of this encoder go from 0 to {spec.vocabulary - 1}"
            )
    return x


# ------------------------------------------------------------------------------------------------------------------ all


def input_from(
    given: Any, spec: DataSpec, *, resize: bool, reach: int | None, tokenizer: Callable[[], "Tokenizer"], say: Say
) -> Tensor:
    """The input of an encoder that was pretrained on data of `spec`. Raises ValueError for what it cannot be."""
    match spec:
        case ImageSpec():
            return images(given, spec, resize=resize, say=say)
        case VideoSpec():
            return clips(given, spec, resize=resize, say=say)
        case VectorSpec():
            return vectors(given, spec)
        case TextSpec():
            return texts(given, spec, tokenizer, reach, say)
    return given if isinstance(given, Tensor) else _tensor(given)


def _some(given: Sequence[Any]) -> Sequence[Any]:
    if not len(given):
        raise ValueError("an empty list was given; an encoder needs at least one example")
    return given


def _stacked(parts: Sequence[Tensor], what: str) -> Tensor:
    """Examples as a batch; images as (1, C, H, W) are joined."""
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) > 1:
        one, other, *_ = sorted(shapes)
        raise ValueError(f"{what} of shapes {one} and {other} were given in one list; they must be alike")
    return torch.cat(list(parts)) if what == "images" else torch.stack(list(parts))
