"""The keys that protect what is secret in the database: tokens and private keys.

A key is 32 random bytes in base64 (either alphabet; `openssl rand -base64 32`
makes one). They come from `DBBackendBase.db_encrypt_keys`, else from the
environment variable `DASK_GATEWAY_ENCRYPT_KEYS` (separated by `;`), else from
a key file beside an SQLite database, which is made at the database's first
start. The first key encrypts, all of them decrypt: so a key is replaced by
putting a new one in front, restarting, and then removing the old one, which
rotation.py does with those in a key file.

The same keys seal whole rows: a seal is a MAC over all that a row says, its
name and table included, so that whoever can write to the database, but has no
key, can neither change what a row says nor put it in the place of another.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gateway.errors import StartError
from gateway.store.key_file import read_key_file, write_key_file

ENVIRONMENT_VARIABLE = "DASK_GATEWAY_ENCRYPT_KEYS"
OPTION = "DBBackendBase.db_encrypt_keys"

#: What the keys of seals are derived with, so that no key does two things.
_SEALS = b"seals of rows"

_HOW_TO_MAKE = "a key is 32 random bytes in base64, as made by `openssl rand -base64 32`"


class Cipher:
    """Authenticated encryption with several keys (Fernet: AES-CBC and HMAC), and seals (HMAC-SHA256)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._first = Fernet(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])
        self._keys = [base64.urlsafe_b64decode(key) for key in keys]
        self._seal_keys = self.derive(_SEALS)

    def derive(self, purpose: bytes) -> tuple[bytes, ...]:
        """A further key of 32 bytes for each of the keys, for this purpose alone: make with the first, try them all."""
        return tuple(hmac.digest(key, b"dask-gateway: " + purpose, "sha256") for key in self._keys)

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt with the first key."""
        return self._first.encrypt(plain)

    def decrypt(self, token: bytes) -> bytes:
        """Decrypt with whichever key fits. Raises `cryptography.fernet.InvalidToken`."""
        return self._all.decrypt(token)

    def is_of_first_key(self, token: bytes) -> bool:
        """Whether the first key made this token."""
        try:
            self._first.decrypt(token)
        except InvalidToken:
            return False
        return True

    def seal(self, *parts: bytes) -> bytes:
        """A seal of the first key over these parts, in this order and with these borders."""
        return _mac(self._seal_keys[0], parts)

    def is_sealed(self, seal: bytes, *parts: bytes) -> bool:
        """Whether one of the keys has made this seal for just these parts."""
        return any(hmac.compare_digest(_mac(key, parts), seal) for key in self._seal_keys)


def _mac(key: bytes, parts: Sequence[bytes]) -> bytes:
    mac = hmac.new(key, digestmod="sha256")
    for part in parts:
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac.digest()


@frozen
class Keys:
    """Keys in the alphabet of Fernet, the first of which encrypts, and where they come from."""

    values: tuple[bytes, ...] = field(repr=False)
    #: For people: the option, the environment variable, or the key file.
    source: str
    #: The key file, if they come from one.
    file: Path | None = None

    def cipher(self) -> Cipher:
        """The cipher that these keys make."""
        return Cipher(self.values)

    def first(self) -> "Keys":
        """The first one alone."""
        return evolve(self, values=self.values[:1])


def find_keys(keys: Sequence[str], environment: Mapping[str, str], key_file: Path | None, *, new: bool) -> Keys:
    """The keys of a database.

    `keys` are the configured ones; `key_file` is where an SQLite database
    keeps its own, None for another database. `new` says that the database is
    yet to be made, and only then a key file is. Raises `StartError`.
    """
    if keys:
        return as_keys(keys, OPTION)
    from_environment = [key for key in environment.get(ENVIRONMENT_VARIABLE, "").split(";") if key.strip()]
    if from_environment:
        return as_keys(from_environment, f"the environment variable {ENVIRONMENT_VARIABLE}")
    if key_file is None:
        raise StartError(
            f"A database that is not a file of the gateway's own needs an encryption key: set {OPTION} or the "
            f"environment variable {ENVIRONMENT_VARIABLE} ({_HOW_TO_MAKE})."
        )
    if new and not key_file.exists():
        write_key_file(key_file, [new_key()])
    return keys_of_file(key_file)


def keys_of_file(path: Path) -> Keys:
    """The keys in a key file. Raises `StartError`."""
    try:
        lines = read_key_file(path)
    except FileNotFoundError as error:
        raise StartError(
            f"The key file {path} is missing, and without it the database cannot be read: restore it, or set {OPTION} "
            f"or the environment variable {ENVIRONMENT_VARIABLE} to the key. To start anew and forget all clusters, "
            "move the database away."
        ) from error
    return as_keys(lines, f"the key file {path}", file=path)


def as_keys(keys: Sequence[str], source: str, *, file: Path | None = None) -> Keys:
    """These keys, in whichever alphabet. Raises `StartError` for those that are none."""
    return Keys(tuple(_normalize(key, index, source) for index, key in enumerate(keys, 1)), source, file)


def new_key() -> str:
    """A fresh key, as it may stand in a configuration."""
    return Fernet.generate_key().decode()


def new_keys() -> Keys:
    """A fresh key, for a database that nobody will read again."""
    return as_keys([new_key()], "this process")


def _normalize(key: str, index: int, source: str) -> bytes:
    try:
        raw = base64.b64decode(key.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:  # the key itself is not shown: it may be almost right
        raise StartError(f"Key number {index} of {source} cannot be used: {_HOW_TO_MAKE}.")
    return base64.urlsafe_b64encode(raw)
