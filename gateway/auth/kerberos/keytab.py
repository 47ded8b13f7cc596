"""Which principals a keytab has keys for, without the keys; pure.

A keytab (version 0x502) is a sequence of entries, each after its length; a
negative length is a hole. An entry begins with its principal: the number of
its components, its realm, the components. All numbers are big-endian, and a
text is its length in two bytes and its bytes. https://web.mit.edu/kerberos/krb5-latest/doc/formats/keytab_file_format.html
"""

import struct
from collections.abc import Iterator

_VERSION = b"\x05\x02"
#: Bytes. A keytab of a thousand services stays below it.
MOST = 1024 * 1024


def principals_of(content: bytes) -> tuple[str, ...]:
    """The principals, each once, in the order of the file. Raises ValueError for what is no keytab."""
    if not content.startswith(_VERSION):
        raise ValueError("is no keytab: it does not begin with 05 02")
    try:
        return tuple(dict.fromkeys(_principal(entry) for entry in _entries(content)))
    except struct.error:
        raise ValueError("is no keytab, or only the beginning of one") from None


def _entries(content: bytes) -> Iterator[bytes]:
    place = len(_VERSION)
    while place < len(content):
        (length,) = struct.unpack_from(">i", content, place)
        place += 4
        if length > 0:
            yield content[place : place + length]
        place += abs(length)


def _principal(entry: bytes) -> str:
    (count,) = struct.unpack_from(">H", entry)
    place, texts = 2, []
    for _ in range(count + 1):
        (length,) = struct.unpack_from(">H", entry, place)
        (text,) = struct.unpack_from(f"{length}s", entry, place + 2)
        texts.append(text.decode("utf-8", "backslashreplace"))
        place += 2 + length
    realm, *components = texts
    return f"{'/'.join(components)}@{realm}"
