"""video_folder's cache beside PyAV's decoding; its second start; its memory"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssl_runner.data.video.clips import Cut, read_all
from ssl_runner.data.video.video_folder import SUFFIXES

from .shared import print_rates, rates

CUT = Cut(frames=16, stride=16, rate=None, side=64, channels=3)

READ = """
import json, resource, sys
from pathlib import Path
from ssl_runner.data.video.clips import Cut, read_all
folder, cut = Path(sys.argv[1]), Cut(*json.loads(sys.argv[2]))
files = sorted(path for path in (folder / "videos").rglob("*") if path.is_file())
data = read_all(folder, files, cut=cut, cache=folder / "cache").data
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([data.nbytes, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""  # in a process of its own, whose peak is that of reading


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", required=True, help="folder of videos")
    parser.add_argument("--rounds", type=int, default=3)


def measure(arguments: argparse.Namespace) -> None:
    root = Path(arguments.root).absolute()
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"video: there are no videos in {root} (--root)")
    with tempfile.TemporaryDirectory() as folder:
        read(root, files, folder)
        what: dict[str, Callable[[], float]] = {
            "PyAV, decoding alone": partial(decoded, files),
            "ssl_runner, to the cache": partial(read_anew, root, files),
            "ssl_runner, second start": partial(read, root, files, folder),
        }
        title = f"{len(files)} videos, cut in clips of {CUT.frames} x {CUT.side} x {CUT.side}; seconds"
        print_rates(title, rates(what, arguments.rounds), "ssl_runner, to the cache")
    larger = CUT._replace(side=128)
    shown = Table("copies", "cache, MB", "peak memory, MB", title=f"reading, of {larger.side} x {larger.side}")
    for copies in (1, 10, 40):
        size, peak = memory_of(files, copies, larger)
        shown.add_row(str(copies), f"{size / 1e6:,.1f}", f"{peak / 1e6:,.0f}")
    Console().print(shown)


def decoded(files: Sequence[Path]) -> float:
    """Seconds in which PyAV decodes all frames."""
    import av

    begun = time.monotonic()
    for file in files:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for _ in container.decode(stream):
                pass
    return time.monotonic() - begun


def read(root: Path, files: Sequence[Path], cache: str) -> float:
    """Seconds in which the clips are read, from the cache where they are in it."""
    begun = time.monotonic()
    read_all(root, list(files), cut=CUT, cache=Path(cache))
    return time.monotonic() - begun


def read_anew(root: Path, files: Sequence[Path]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return read(root, files, folder)


def memory_of(files: Sequence[Path], copies: int, cut: Cut) -> tuple[int, int]:
    """Bytes of the cache, and the peak of the process that writes it."""
    with tempfile.TemporaryDirectory() as folder:
        for copy, file in itertools.product(range(copies), files):
            link = Path(folder) / "videos" / f"{copy}" / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
        command = [sys.executable, "-c", READ, folder, json.dumps(cut)]
        size, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return size, peak
