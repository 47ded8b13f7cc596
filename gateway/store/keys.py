"""The keys that protect what is secret in the database: tokens and private keys.

A key is 32 random bytes in base64 (either alphabet; `openssl rand -base64 32`
makes one). They come from `DBBackendBase.db_encrypt_keys`, else from the
environment variable `DASK_GATEWAY_ENCRYPT_KEYS` (separated by `;`), else from
a key file beside an SQLite database, which is made at the database's first
start. The first key encrypts, all of them decrypt: so a key is replaced by
putting a new one in front, restarting, and then removing the old one.

The same keys seal whole rows: a seal is a MAC over all that a row says, its
name and table included, so that whoever can write to the database, but has no
key, can neither change what a row says nor put it in the place of another.
"""

import base64
import binascii
import hmac
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gateway.errors import StartError

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


def open_cipher(keys: Sequence[str], environment: Mapping[str, str], key_file: Path | None, *, new: bool) -> Cipher:
    """The cipher for a database.

    `keys` are the configured ones; `key_file` is where an SQLite database
    keeps its own, None for another database. `new` says that the database is
    yet to be made, and only then a key file is. Raises `StartError`.
    """
    if keys:
        return _cipher(keys, OPTION)
    from_environment = [key for key in environment.get(ENVIRONMENT_VARIABLE, "").split(";") if key.strip()]
    if from_environment:
        return _cipher(from_environment, ENVIRONMENT_VARIABLE)
    if key_file is None:
        raise StartError(
            f"A database that is not a file of the gateway's own needs an encryption key: set {OPTION} or the "
            f"environment variable {ENVIRONMENT_VARIABLE} ({_HOW_TO_MAKE})."
        )
    if new and not key_file.exists():
        _make_key_file(key_file)
    return _cipher([_read_key_file(key_file)], f"the key file {key_file}")


def new_key() -> str:
    """A fresh key, as it may stand in a configuration."""
    return Fernet.generate_key().decode()


def new_cipher() -> Cipher:
    """A cipher with a fresh key, for a database that nobody will read again."""
    return Cipher([new_key().encode()])


def _cipher(keys: Sequence[str], source: str) -> Cipher:
    return Cipher([_normalize(key, index, source) for index, key in enumerate(keys, 1)])


def _normalize(key: str, index: int, source: str) -> bytes:
    try:
        raw = base64.b64decode(key.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:  # the key itself is not shown: it may be almost right
        raise StartError(f"Key number {index} of {source} cannot be used: {_HOW_TO_MAKE}.")
    return base64.urlsafe_b64encode(raw)


def _read_key_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(1024)
    except FileNotFoundError as error:
        raise StartError(
            f"The key file {path} is missing, and without it the database cannot be read: restore it, or set {OPTION} "
            "to the key. To start anew and forget all clusters, move the database away."
        ) from error
    except OSError as error:
        raise StartError(f"Cannot read the key file {path}: {error.strerror}.") from error
    if status.st_uid != os.geteuid():
        raise StartError(
            f"The key file {path} belongs to user id {status.st_uid}, not to the gateway's user: chown it."
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StartError(
            f"The key file {path} can be used by others than its owner (mode {stat.S_IMODE(status.st_mode):04o}): "
            "chmod it to 600. If somebody may have read it, replace the key."
        )
    return content.decode("ascii", "replace")


def _make_key_file(path: Path) -> None:
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)  # of a start that was interrupted
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(new_key().encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StartError(f"Cannot make the key file {path}: {error.strerror}.") from error
