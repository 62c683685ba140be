"""UCF101, HMDB51 and Kinetics as small folders in their layouts."""

from pathlib import Path

import pytest
from made_video import write

from ssl_runner.data.video.known_videos import KnownVideos, Video, hold_out_groups

CLASSES = ("Archery", "Biking")


def source(name: str, root: Path, **changes: object) -> KnownVideos:
    settings = {
        "name": name,
        "root": str(root),
        "split": 1,
        "side": 32,
        "channels": 1,
        "frames": 4,
        "stride": 4,
        "rate": None,
        "on_broken": "refuse",
        "cache": str(root.parent / "cache"),
        "val_fraction": 0.3,
        "split_seed": 0,
    }
    return KnownVideos(**{**settings, **changes})


def ucf(root: Path) -> None:
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Archery\r\n2 Biking\r\n")
    for part, groups in (("train", (8, 9, 10)), ("test", (1,))):
        rows = []
        for label, name in enumerate(CLASSES, start=1):
            for group in groups:
                for clip in (1, 2):
                    entry = f"{name}/v_{name}_g{group:02}_c{clip:02}.avi"
                    write(root / "UCF-101" / entry, 4)
                    rows.append(f"{entry} {label}" if part == "train" else entry)
        (lists / f"{part}list01.txt").write_text("\n".join(rows) + "\n")


def hmdb(root: Path) -> None:
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    for name in CLASSES:
        rows = []
        for number, part in enumerate((1, 1, 1, 2, 0)):
            file = f"Film{number // 2}_{name}_f_cm_np1_fr_med_{number}.avi"
            write(root / "hmdb51_org" / name / file, 4)
            rows.append(f"{file} {part} ")
        (lists / f"{name}_test_split1.txt").write_text("\n".join(rows) + "\n")


def kinetics(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    for part, count in (("train", 3), ("val", 1)):
        rows = ["label,youtube_id,time_start,time_end,split"]
        for name in CLASSES:
            for number in range(count):
                write(root / part / name / f"{part}{name}{number}_000003_000013.mp4", 4)
                rows.append(f"{name},{part}{name}{number},3,13,{part}")
        rows.append(f"{CLASSES[0]},taken_down,3,13,{part}")
        (root / "annotations" / f"{part}.csv").write_text("\n".join(rows) + "\n")


MADE = {"ucf101": ucf, "hmdb51": hmdb, "kinetics": kinetics}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("ucf101", (8, 4, 4)), ("hmdb51", (None, None, 2)), ("kinetics", (4, 2, 2))],
)
def test_a_set_in_its_own_layout(name: str, sizes: tuple[int | None, ...], tmp_path: Path) -> None:
    MADE[name](tmp_path / "set")
    found = source(name, tmp_path / "set")
    found.check()
    assert found.spec.class_names == CLASSES
    splits = found.load()
    assert splits["train"].data.shape[1:] == (4, 1, 32, 32)
    for part, size in zip(("train", "val", "test"), sizes, strict=True):
        assert size is None or len(splits[part].label) == size
        assert set(splits[part].label.tolist()) == {0, 1}
        assert len(found.videos(part).unique()) == len(splits[part].label)  # of one clip each


def test_hmdb_s_unused_clips_are_left_out(tmp_path: Path) -> None:
    hmdb(tmp_path / "set")
    splits = source("hmdb51", tmp_path / "set").load()
    assert len(splits["train"].label) + len(splits["val"].label) == 6


def test_groups_are_held_out_whole() -> None:
    videos = [Video(Path(f"{i}"), i % 2, f"g{i // 4}") for i in range(40)]
    rest, held = hold_out_groups(videos, 0.2, seed=3)
    assert len(rest) + len(held) == 40
    assert not {(v.label, v.group) for v in rest} & {(v.label, v.group) for v in held}
    for label in (0, 1):  # two of ten groups of each class
        assert len({v.group for v in held if v.label == label}) == 2
    assert hold_out_groups(videos, 0.2, seed=3) == (rest, held)
    assert hold_out_groups(videos, 0.2, seed=4) != (rest, held)


def test_a_class_of_one_group_stays() -> None:
    videos = [Video(Path("a"), 0, "g1"), Video(Path("b"), 1, "g1"), Video(Path("c"), 1, "g2")]
    rest, held = hold_out_groups(videos, 0.5, seed=0)
    assert videos[0] in rest
    assert [v.label for v in held] == [1]
    with pytest.raises(ValueError, match="single group"):
        hold_out_groups(videos[:1], 0.5, seed=0)


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("ucf101", "ucfTrainTestlist/classInd.txt", None, "UCF-101/<class>"),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "Archery 1", r"line 1: 'Archery 1'; '1 <class>' was expected"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "../../x.avi 1", "was expected"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "Archery/v_Archery_g99_c01.avi 1", "there is no"),
        ("hmdb51", "testTrainMulti_7030_splits/Archery_test_split1.txt", "../../../x.avi 1", "not a path within"),
        ("hmdb51", "testTrainMulti_7030_splits/Archery_test_split1.txt", "a.avi 5", "was expected"),
        ("kinetics", "annotations/train.csv", None, "annotations/{train,val}.csv"),
        ("kinetics", "annotations/train.csv", "label,id\na,b\n", "youtube_id"),
        ("kinetics", "annotations/train.csv", "label,youtube_id,time_start,time_end\n", "no video of train"),
    ],
)
def test_what_is_wrong_is_said(name: str, file: str, text: str | None, said: str, tmp_path: Path) -> None:
    MADE[name](tmp_path / "set")
    target = tmp_path / "set" / file
    target.unlink() if text is None else target.write_text(text)
    with pytest.raises(ValueError, match=said):
        source(name, tmp_path / "set").check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": 4}, "dataset.split is 4"),
        ({"side": 0}, "dataset.side is 0"),
        ({"val_fraction": 1.0}, "dataset.val_fraction is 1.0"),
        ({"rate": 0.0}, "dataset.rate is 0.0"),
    ],
)
def test_bad_settings(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        source("ucf101", tmp_path, **changes)
    with pytest.raises(ValueError, match="it must be 1"):
        source("kinetics", tmp_path, split=2)
