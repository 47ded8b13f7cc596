"""Where frames of HTTP/2 begin and what they cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.http2_frames import (
    LARGEST_FRAME,
    LARGEST_HEADERS,
    MOST_SETTINGS,
    WORTHWHILE,
    FrameCutter,
    TooLargeFrame,
    TooMuchOfIt,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
END_HEADERS, PADDED = 4, 8


def frame(kind, size=0, flags=0):
    return size.to_bytes(3, "big") + bytes((kind, flags, 0, 0, 0, 1)) + bytes(size)


def cost(*frames):
    return sum(part.cost for part in FrameCutter().cut(PREFACE + b"".join(frames)))


@pytest.mark.parametrize(
    ("one", "units"),
    [
        (frame(DATA), 1),
        (frame(DATA, WORTHWHILE - 1), 1),
        (frame(DATA, WORTHWHILE), 0),
        (frame(DATA, WORTHWHILE, PADDED), 1),
        (frame(DATA, WORTHWHILE + 256, PADDED), 0),
        (frame(HEADERS, 20, END_HEADERS), 0),
        (frame(HEADERS, 20) + frame(CONTINUATION, 0, END_HEADERS), 1),
        (frame(SETTINGS), 1),
        (frame(SETTINGS, 18), 4),
        (frame(PING, 8), 1),
        (frame(0x77, LARGEST_FRAME), 1),
    ],
)
def test_what_frames_cost(one, units):
    assert cost(one) == units
    assert cost(one, one, one) == 3 * units


def test_what_is_too_large_is_known_from_its_head():
    for kind in range(256):
        with pytest.raises(TooLargeFrame):
            cost(frame(kind, LARGEST_FRAME + 1)[:9])


def test_headers_and_settings_have_limits():
    whole = [frame(HEADERS, LARGEST_FRAME), *[frame(CONTINUATION, LARGEST_FRAME)] * (LARGEST_HEADERS // LARGEST_FRAME)]
    assert cost(*whole[:-1]) == len(whole) - 2
    with pytest.raises(TooMuchOfIt):
        cost(*whole)
    complete = frame(HEADERS, LARGEST_FRAME, END_HEADERS)
    assert cost(*[complete] * 10) == 0
    assert cost(frame(SETTINGS, 6 * MOST_SETTINGS)) == 1 + MOST_SETTINGS
    with pytest.raises(TooMuchOfIt):
        cost(frame(SETTINGS, 6 * (MOST_SETTINGS + 1)))


def test_parts_are_little_work():
    parts = list(FrameCutter().cut(PREFACE + frame(PING, 8) * 1000))
    assert max(part.cost for part in parts) <= 32
    parts = list(FrameCutter().cut(PREFACE + frame(HEADERS, 8, END_HEADERS) * 100))
    assert len(parts) >= 25
    parts = list(FrameCutter().cut(PREFACE + frame(DATA, LARGEST_FRAME) * 10))
    assert 5 <= len(parts) <= 8


FRAMES = st.lists(
    st.builds(
        frame, st.sampled_from([DATA, HEADERS, SETTINGS, PING, CONTINUATION, 0x77]), st.integers(0, 190), st.just(4)
    ),
    max_size=60,
)


@given(FRAMES, st.lists(st.integers(1, 300)))
def test_however_it_arrives_it_is_the_same(frames, sizes):
    data = PREFACE + b"".join(frames)
    cutter = FrameCutter()
    parts, left = [], data
    for size in [*sizes, len(data)]:
        parts += cutter.cut(left[:size])
        left = left[size:]
    assert b"".join(part.data for part in parts) == data
    assert sum(part.cost for part in parts) == cost(*frames)
    assert all(part.data for part in parts)


@given(st.binary(max_size=2000))
def test_anything_may_come(data):
    try:
        parts = list(FrameCutter().cut(PREFACE + data))
    except (TooLargeFrame, TooMuchOfIt):
        return
    assert b"".join(part.data for part in parts) == PREFACE + data
