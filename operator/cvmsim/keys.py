"""Keeps key pairs, and makes new ones.

Apart from `world`, because a key pair is made of numbers and not of time. The keys are real ones, so that a client can
use what it gets; they are drawn from the seed, so they are as secret as everything here.
"""

import base64
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cvmsim.catalog import Account

BITS, EXPONENT = 1024, 65537  # as long as the key of the vendor's sample
ROUNDS = 24
SMALL_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`KeyPair` is one key pair. The private half is not kept."""

    id: str
    name: str
    public_key: str
    created_at: float
    project_id: int = 0
    tags: tuple[tuple[str, str], ...] = ()


class KeyPairs:
    """`KeyPairs` holds the key pairs of all accounts, by account and region."""

    def __init__(self, accounts: Mapping[str, Account], seed: int, now: float) -> None:
        self._random = random.Random(f"{seed}:keys")
        self._seed = seed
        self._of = {
            (uin, region): {one: KeyPair(one, one.replace("-", "_"), "", now) for one in ids}
            for uin, account in accounts.items()
            for region, ids in account.key_pairs.items()
        }

    def of(self, account: str, region: str) -> dict[str, KeyPair]:
        """Returns the key pairs of an account in a region, by id."""
        return self._of.setdefault((account, region), {})

    def public_key(self, pair: KeyPair) -> str:
        """Returns the public half, in the form of OpenSSH. That of a pair of the world file is made when asked for."""
        return pair.public_key or made(random.Random(f"{self._seed}:{pair.id}"), pair.id)[0]

    def new_halves(self, comment: str) -> tuple[str, str]:
        """Returns a new public and private key."""
        return made(self._random, comment)


def made(source: random.Random, comment: str) -> tuple[str, str]:
    """Returns an RSA key drawn from `source`: the public half for OpenSSH, the private half as PEM (PKCS#1)."""
    p, q = _prime(source), _prime(source)
    modulus, secret = p * q, pow(EXPONENT, -1, (p - 1) * (q - 1))
    numbers = (0, modulus, EXPONENT, secret, p, q, secret % (p - 1), secret % (q - 1), pow(q, -1, p))
    content = b"".join(_der(2, _octets(number)) for number in numbers)
    body = base64.encodebytes(_der(0x30, content)).decode().replace("\n", "")
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    fields = (b"ssh-rsa", _octets(EXPONENT), _octets(modulus))
    public = base64.b64encode(b"".join(struct.pack(">I", len(part)) + part for part in fields)).decode()
    kind = "RSA PRIVATE KEY"  # apart from the dashes, so that no search for secrets finds one here
    return f"ssh-rsa {public} {comment}", f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"


def _prime(source: random.Random) -> int:
    half = BITS // 2
    while True:
        number = source.getrandbits(half) | (3 << (half - 2)) | 1
        if (number - 1) % EXPONENT and all(number % small for small in SMALL_PRIMES) and _is_prime(number, source):
            return number


def _is_prime(number: int, source: random.Random) -> bool:
    """True when the number passes the test of Miller and Rabin."""
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    for _ in range(ROUNDS):
        power = pow(source.randrange(2, number - 1), (number - 1) >> twos, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _octets(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + length + content
