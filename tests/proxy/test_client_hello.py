"""Every prefix and every split of real hellos; every lie a length can tell."""

import ssl
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.client_hello import (
    MAX_HELLO,
    START,
    ClientHello,
    MalformedClientHello,
    NeedMoreData,
    PlainText,
    parse_client_hello,
)
from tests.support.hellos import big_hello, extension, handshake, openssl_hello, recorded, records, server_name, split

NAME = "daskgateway-abc"
HELLOS = [
    (NAME, openssl_hello(NAME)),
    (NAME, openssl_hello(NAME, maximum=ssl.TLSVersion.TLSv1_2)),
    ("", openssl_hello(None)),
    (NAME, records(handshake(server_name((0, NAME.upper().encode()))))),
    (NAME, big_hello(NAME.encode(), 1800)),
    *recorded(),
]


@pytest.mark.parametrize(("name", "hello"), HELLOS)
def test_every_prefix_asks_for_more_until_the_hello_is_whole(name: str, hello: bytes) -> None:
    for size in range(len(hello)):
        answer = parse_client_hello(hello[:size])
        assert isinstance(answer, NeedMoreData)
        assert size < answer.size <= len(hello)
        assert parse_client_hello(hello, answer) == ClientHello(name)
    assert parse_client_hello(hello) == ClientHello(name)
    assert parse_client_hello(hello + b"anything") == ClientHello(name)


@pytest.mark.parametrize(("name", "hello"), HELLOS)
def test_every_split_into_two_records(name: str, hello: bytes) -> None:
    for size in range(1, len(hello) - 5):
        pieces = split(hello, [size])
        assert parse_client_hello(pieces) == ClientHello(name)
        answer = parse_client_hello(pieces[:-1])
        assert answer == NeedMoreData(len(pieces))


def test_one_byte_records_and_what_is_asked_for() -> None:
    hello = split(big_hello(NAME.encode(), 10000), [1] * 11000)
    looks, answer = 0, START
    while isinstance(answer, NeedMoreData):
        data = hello[: answer.size]
        answer, again = parse_client_hello(data, answer), parse_client_hello(data)
        looks += 1
        assert answer == again
        assert not isinstance(answer, NeedMoreData) or len(data) < answer.size <= len(hello)
    assert answer == ClientHello(NAME)
    assert 60000 < len(hello) < MAX_HELLO
    assert looks < 60


def test_a_look_at_some_records_says_that_more_are_there() -> None:
    hello = split(HELLOS[3][1], [1] * 2000)
    looks, answer = 0, START
    while isinstance(answer, NeedMoreData):
        assert answer.size <= len(hello)
        answer = parse_client_hello(hello, answer, 10)
        looks += 1
    assert answer == ClientHello(NAME)
    assert looks == -(-len(hello) // 60)


def test_what_follows_the_hello_in_its_record_is_not_waited_for() -> None:
    message = handshake(server_name((0, NAME.encode())))
    hello = records(message + b"x" * 1000)
    assert parse_client_hello(hello[:6]) == NeedMoreData(9)
    assert parse_client_hello(hello[:50]) == NeedMoreData(5 + len(message))
    assert parse_client_hello(hello[: 5 + len(message)]) == ClientHello(NAME)


def test_up_to_64_kib_and_no_further() -> None:
    assert parse_client_hello(big_hello(NAME.encode(), 60000)) == ClientHello(NAME)
    with pytest.raises(MalformedClientHello, match=r"ClientHello of 6\d{4} bytes"):
        parse_client_hello(records(handshake(None)[:1] + (66000).to_bytes(3, "big") + b"x" * 100))
    tiny = split(big_hello(NAME.encode(), 20000), [1] * 20000)
    with pytest.raises(MalformedClientHello, match="more than"):
        parse_client_hello(tiny[:MAX_HELLO])


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x80\x2e\x01\x03\x01", b"\x15\x03\x01", b"PRI * ", b"\x00"])
def test_what_is_not_tls(data: bytes) -> None:
    assert parse_client_hello(data) == PlainText()


BAD = [
    (b"\x16\x02", "no TLS version"),
    (b"\x16\x03\x01\x00\x00", "record of 0 bytes"),
    (b"\x16\x03\x01\xff\xff", "record of 65535 bytes"),
    (b"\x16\x03\x01\x00\x01\x02", "handshake message 2"),
    (records(handshake(b"")[:20], [10]) + b"\x17", "no handshake"),
    (records(handshake(b"\x00\x00\x00\xff")), "past the end"),
    (records(handshake(extension(0, b"\x00\xff"))), "past the end"),
    (records(handshake(extension(0, b"\x00\x05\x00\x00\x09ab"))), "past the end"),
    (records(handshake(server_name((0, b"\xc3\xa4")))), "ASCII"),
    (records(b"\x01\x00\x00\x05hello"), "past the end"),
]


@pytest.mark.parametrize(("data", "reason"), BAD)
def test_what_is_wrong_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedClientHello, match=reason):
        parse_client_hello(data)


@pytest.mark.parametrize(
    ("extensions", "name"),
    [
        (None, ""),
        (b"", ""),
        (extension(43, b"\x02\x03\x04"), ""),
        (extension(0, b"\x00\x00"), ""),
        (server_name((7, b"other"), (0, b"a.example")), "a.example"),
        (server_name((7, b"other")), ""),
    ],
)
def test_hellos_with_and_without_a_name(extensions: bytes | None, name: str) -> None:
    assert parse_client_hello(records(handshake(extensions))) == ClientHello(name)


@given(st.binary(max_size=300))
def test_any_bytes_after_a_handshake_byte_have_an_answer(data: bytes) -> None:
    for start in (b"\x16", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c"):
        try:
            answer = parse_client_hello(start + data)
        except MalformedClientHello:
            continue
        assert isinstance(answer, ClientHello | NeedMoreData)
        assert not isinstance(answer, NeedMoreData) or answer.size > len(data)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 300), max_size=20), st.sampled_from(HELLOS), st.data())
def test_any_records_and_any_prefix(sizes: list[int], hello: tuple[str, bytes], data: st.DataObject) -> None:
    pieces = split(hello[1], sizes)
    cut = data.draw(st.integers(0, len(pieces)))
    answer = parse_client_hello(pieces[:cut])
    if cut == len(pieces):
        assert answer == ClientHello(hello[0])
    else:
        assert isinstance(answer, NeedMoreData)
        assert cut < answer.size <= len(pieces)
        assert parse_client_hello(pieces, answer) == ClientHello(hello[0])


@settings(max_examples=300)
@given(
    st.lists(st.integers(1, 50), max_size=100),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=2),
    st.sampled_from(HELLOS),
    st.integers(1, 70),
)
def test_looks_in_steps_see_what_one_look_sees(
    sizes: list[int], changes: list[tuple[int, int]], hello: tuple[str, bytes], most: int
) -> None:
    data = bytearray(split(hello[1], sizes))
    for place, byte in changes:
        data[place % len(data)] = byte
    answer = step_by_step(bytes(data), most)
    whole = look(bytes(data))
    if isinstance(answer, NeedMoreData):
        assert answer.size > len(data)
        assert not isinstance(whole, ClientHello | PlainText)  # nonsense may be found later
    else:
        assert answer == whole


def look(*arguments: Any) -> Any:
    try:
        return parse_client_hello(*arguments)
    except MalformedClientHello as error:
        return str(error)


def step_by_step(data: bytes, most: int) -> Any:
    """As the public port looks: when there is what was asked for."""
    answer: Any = START
    while isinstance(answer, NeedMoreData) and answer.size <= len(data):
        answer = look(data[: answer.size], answer, most)
    return answer


@given(st.sampled_from(HELLOS), st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_is_never_an_accident(hello: tuple[str, bytes], place: int, byte: int) -> None:
    changed = bytearray(hello[1])
    changed[place % len(changed)] = byte
    try:
        assert isinstance(parse_client_hello(bytes(changed)), ClientHello | NeedMoreData | PlainText)
    except MalformedClientHello:
        return
