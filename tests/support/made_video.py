"""Video files for tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write(
    path: Path,
    n: int,
    *,
    width: int = 32,
    height: int = 32,
    codec: str = "mpeg4",
    times: Sequence[int] = (),
    pixel: Fraction = Fraction(1),
    mark: tuple[slice, slice] | None = None,
    title: str = "",
) -> None:
    """n frames, frame i of gray 10 i, `mark` (rows, columns) white; `times` in hundredths of a second, else 25 a
    second; `pixel`: width / height of one as it is shown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=100 if times else 25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if pixel != 1:
            stream.codec_context.sample_aspect_ratio = pixel
        for i in range(n):
            image = np.full((height, width, 3), 10 * i, np.uint8)
            if mark is not None:
                image[mark] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[i] if times else i
            frame.time_base = Fraction(1, 100 if times else 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
