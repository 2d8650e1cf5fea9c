"""The memory of an upload is bounded by bytes, whatever the size of the files."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dropbox_agent.tasks.bucket.room import LARGE_ONES, Room
from dropbox_agent.tasks.bucket.s3 import MOST_PARTS, PART_BYTES, part_bytes


@pytest.mark.parametrize("large", [0, 3, 50])
def test_no_more_is_ever_inside_than_there_is_room_for(large: int) -> None:
    room, inside, most, lock = Room(10), [0], [0], threading.Lock()

    def body(size: int) -> None:
        with room.inside(size):
            with lock:
                inside[0] += size
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= size

    choose = random.Random(7)
    sizes = [choose.choice([0, 1, 2, 9, large]) for _ in range(500)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(body, sizes))
    assert inside == [0]
    assert most[0] <= max(10, LARGE_ONES * large)


def test_a_body_that_fails_makes_room_for_others() -> None:
    room = Room(1)
    with pytest.raises(OSError, match="cut"), room.inside(1):
        raise OSError("cut")
    with room.inside(1):
        pass


def test_the_parts_of_a_large_file_are_as_small_as_s3_allows() -> None:
    assert part_bytes(1) == part_bytes(MOST_PARTS * PART_BYTES) == PART_BYTES
    terabyte = 10**12
    assert part_bytes(terabyte) * MOST_PARTS >= terabyte
    assert LARGE_ONES * part_bytes(terabyte) < 500 * 2**20
