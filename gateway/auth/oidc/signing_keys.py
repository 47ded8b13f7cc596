"""The public keys of an issuer (RFC 7517), and whether one of them has signed a token; pure.

Of what an issuer publishes only keys for signatures count, of a kind and a size
that can be trusted; the rest is left aside, as an issuer may publish more than
we know of. A key is used with the algorithms of its own kind, and with its own
algorithm alone if it names one.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.auth.oidc.jwt import ASYMMETRIC, BadToken, SignedToken

#: Keys of an issuer that are kept.
MOST_KEYS = 100
#: Bits of an RSA key: RFC 7518, 3.3, and what takes no long time to check.
_FEWEST_BITS, _MOST_BITS = 2048, 8192

#: Kind of key, and its curve → the algorithms that it is for.
_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): tuple(name for name in ASYMMETRIC if name.startswith(("RS", "PS"))),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}


class UnknownKey(BadToken):
    """The token is signed with a key that is not among these."""


class SigningKeys:
    """The keys in a key set as an issuer publishes it, by their names."""

    def __init__(self, key_set: Mapping[str, Any]) -> None:
        self._keys: dict[str, tuple[frozenset[str], Any]] = {}
        for name, algorithms, key in _usable(key_set):
            self._keys.setdefault(name, (algorithms, key))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._keys)

    def claims(self, token: SignedToken) -> Mapping[str, Any]:
        """What a token says that one of these keys has signed. Raises `BadToken`, `UnknownKey` among it."""
        from joserfc.jws import JWSRegistry

        if token.key_id not in self._keys:
            raise UnknownKey("The token is signed with a key that its issuer does not publish")
        algorithms, key = self._keys[token.key_id]
        if token.algorithm not in algorithms:
            raise BadToken(f"The token is signed with {token.algorithm}, for which its key is not meant")
        algorithm = JWSRegistry.algorithms[token.algorithm]
        algorithm.check_key(key)
        if not algorithm.verify(token.signed, token.signature, key):
            raise BadToken("The token's signature is wrong")
        return token.claims()


def _usable(key_set: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[str], Any]]:
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    published = key_set.get("keys")
    for data in published[:MOST_KEYS] if isinstance(published, list) else ():
        algorithms = _algorithms_of(data) if isinstance(data, dict) else frozenset()
        if not algorithms:
            continue
        # What else an issuer says of a key (certificates, operations) is its own affair, and may be anything.
        public = {name: data[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in data}
        try:
            if data["kty"] == "RSA" and not _FEWEST_BITS <= _bits(data.get("n")) <= _MOST_BITS:
                continue
            key = JWKRegistry.import_key(public)
        except (JoseError, ValueError, TypeError):  # no point of its curve, no number
            continue
        yield data["kid"], algorithms, key


def _bits(number: Any) -> int:
    """The length of a number as keys spell it. Raises ValueError or TypeError."""
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


def _algorithms_of(data: Mapping[str, Any]) -> frozenset[str]:
    """The algorithms that a published key is for; none when it has no name or is not for signatures."""
    kind, curve = data.get("kty"), data.get("crv", "")
    if not isinstance(data.get("kid"), str) or data.get("use", "sig") != "sig":
        return frozenset()
    if not isinstance(kind, str) or not isinstance(curve, str):
        return frozenset()
    algorithms = frozenset(_ALGORITHMS.get((kind, "" if kind == "RSA" else curve), ()))
    only = data.get("alg")
    return algorithms if only is None else algorithms & {only} if isinstance(only, str) else frozenset()
