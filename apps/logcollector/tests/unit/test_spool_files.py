"""The spool on the disk: beside a model, through crashes, torn ends and failing disks."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from logcollector.block import Batch, Block
from logcollector.spool import record
from logcollector.spool.files import FullError, Position, SpoolFiles

SEGMENT = 2000
LIMIT = 20_000


def batch(text: str, lines: int = 1) -> Batch:
    return Batch([Block(f"{text}\n".encode() * lines, lines, 12.5, "10.0.0.1")])


def texts(found: list[Batch]) -> list[bytes]:
    return [b"".join(block.data for block in one.blocks) for one in found]


def opened(folder: Path) -> SpoolFiles:
    files = SpoolFiles(str(folder), limit=LIMIT, segment_size=SEGMENT, sync=lambda _: None)
    files.open()
    return files


def everything(files: SpoolFiles) -> list[tuple[Batch, Position]]:
    result = []
    place = files.cursor
    while (found := files.read(place)) is not None:
        result.append(found)
        place = found[1]
    return result


def test_a_record_comes_back_as_it_went_in() -> None:
    blocks = [
        Block(b"a\nb\n", 2, 1.25, "::1"),
        Block(b"@x:1 \xff\n", 1, 2.5, "", keyed=True, raw=True),
    ]
    one = Batch(blocks)
    back = record.decode(record.encode(one))
    assert back is not None
    assert back.id == one.id
    assert back.lines == 3
    for before, after in zip(one.blocks, back.blocks, strict=True):
        for name in ("data", "count", "received", "peer", "keyed", "raw"):
            assert getattr(before, name) == getattr(after, name)


def test_no_damage_of_one_byte_passes() -> None:
    data = record.encode(batch("some text"))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        assert record.decode(bytes(damaged)) is None


def test_oldest_first_over_segments_and_restarts(tmp_path: Path) -> None:
    wanted = []
    for start in (0, 40):
        files = opened(tmp_path)
        for number in range(start, start + 40):
            files.append(record.encode(batch(f"line {number} " + "x" * 100)))
            wanted.append(f"line {number} ".encode())
        files.close()
    files = opened(tmp_path)
    found = texts([one for one, _ in everything(files)])
    assert [text[: len(want)] for text, want in zip(found, wanted, strict=True)] == wanted
    assert len(list(tmp_path.glob("*.log"))) > 4
    files.close()


def test_the_cursor_frees_segments_and_survives(tmp_path: Path) -> None:
    files = opened(tmp_path)
    for number in range(40):
        files.append(record.encode(batch(f"{number:02}" + "x" * 100)))
    places = everything(files)
    before = files.size
    files.advance(places[29][1])
    assert files.size < before
    files.close()
    files = opened(tmp_path)
    assert [text[:2] for text in texts([one for one, _ in everything(files)])] == [
        str(number).encode() for number in range(30, 40)
    ]
    files.close()


def test_it_is_full_until_the_cursor_moves(tmp_path: Path) -> None:
    files = opened(tmp_path)
    data = record.encode(batch("x" * 500))
    with pytest.raises(FullError):
        for _ in range(LIMIT // len(data) + 2):
            files.append(data)
    assert files.size <= LIMIT
    files.advance(everything(files)[-1][1])
    files.append(data)
    files.close()


def test_every_torn_end_keeps_the_whole_records(tmp_path: Path) -> None:
    files = opened(tmp_path / "whole")
    ends = []
    for number in range(3):
        place = files.append(record.encode(batch(f"line {number}")))
        ends.append(place.offset)
    segment = next((tmp_path / "whole").glob("*.log"))
    files.close()
    size = segment.stat().st_size
    ends.append(size)
    for length in range(size + 1):
        folder = tmp_path / "torn"
        shutil.copytree(tmp_path / "whole", folder)
        os.truncate(folder / segment.name, length)
        files = opened(folder)
        whole = sum(end <= length for end in ends[1:])
        assert len(everything(files)) == whole
        files.append(record.encode(batch("after the crash")))
        assert texts([one for one, _ in everything(files)])[-1] == b"after the crash\n"
        files.close()
        shutil.rmtree(folder)


def test_a_lost_segment_does_not_hide_new_records(tmp_path: Path) -> None:
    files = opened(tmp_path)
    for _ in range(10):
        files.append(record.encode(batch("x" * 100)))
    files.advance(everything(files)[-1][1])
    files.close()
    for segment in tmp_path.glob("*.log"):
        segment.unlink()
    files = opened(tmp_path)
    files.append(record.encode(batch("new")))
    assert texts([one for one, _ in everything(files)]) == [b"new\n"]
    files.close()


def test_two_collectors_cannot_share_a_folder(tmp_path: Path) -> None:
    files = opened(tmp_path)
    with pytest.raises(OSError, match="another collector"):
        opened(tmp_path)
    files.close()
    opened(tmp_path).close()


class Disk:
    """A sync that fails when it is told to."""

    def __init__(self) -> None:
        self.fails = False

    def sync(self, descriptor: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, "input/output error")
        os.fdatasync(descriptor)


def test_after_a_failed_sync_the_segment_is_left_alone(tmp_path: Path) -> None:
    disk = Disk()
    files = SpoolFiles(str(tmp_path), limit=LIMIT, segment_size=SEGMENT, sync=disk.sync)
    files.open()
    first = files.append(record.encode(batch("first")))
    disk.fails = True
    with pytest.raises(OSError, match="input/output"):
        files.append(record.encode(batch("lost")))
    disk.fails = False
    second = files.append(record.encode(batch("second")))
    assert second.segment > first.segment
    assert texts([one for one, _ in everything(files)]) == [b"first\n", b"second\n"]
    files.close()
    files = opened(tmp_path)
    assert texts([one for one, _ in everything(files)]) == [b"first\n", b"second\n"]
    files.close()


@pytest.mark.parametrize("seed", range(15))
def test_whatever_is_done_it_holds_what_the_model_holds(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    files = opened(tmp_path)
    model: list[bytes] = []  # what was appended and is behind the cursor
    for step in range(120):
        action = dice.choices(("append", "advance", "reopen", "crash"), (8, 2, 1, 1))[0]
        if action == "append":
            text = f"{step} " + "y" * dice.randrange(600)
            try:
                files.append(record.encode(batch(text)))
            except FullError:
                assert sum(map(len, model)) > LIMIT // 3
            else:
                model.append(text.encode() + b"\n")
        elif action == "advance":
            places = everything(files)
            if places:
                count = dice.randrange(len(places))
                files.advance(places[count][1])
                del model[: count + 1]
        else:
            files.close()
            if action == "crash":  # a record was being written
                torn = record.encode(batch("torn" * 20))
                with open(max(tmp_path.glob("*.log")), "ab") as file:
                    file.write(torn[: dice.randrange(len(torn))])
            files = opened(tmp_path)
        assert texts([one for one, _ in everything(files)]) == model
    files.close()
