"""Sums over nodes of which the server sees only the total (Bonawitz et al. 2017, "Practical secure aggregation").

Each pair of nodes agrees on a mask (ECDH on P-384, by Flower's ``secure_aggregation.crypto``), which one adds to its
sums and the other subtracts. The total is right, and each reply by itself is uniformly random. Masks are not secret-
shared, so if a node drops out the sum cannot be read, and is asked for again.

Flower's own SecAgg+ works only with its older strategies, and its masks come from a generator with a seed of 32 bits
(``pseudo_rand_gen``), which can be tried; here they come from ChaCha20 with a key of 256.
"""

import hashlib
import hmac
from collections.abc import Mapping

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key

from vegas_fl.storage.tensorfiles import State

STEP = 2.0**-24
"""Sums are rounded to multiples of it, which are added modulo 2^64: up to 5e11 in size."""
CURVE = ec.SECP384R1()


def private_key(secret: bytes, about: str) -> ec.EllipticCurvePrivateKey:
    """A node's key for one sum, derived from its secret: the same when it is asked again."""
    digest = hmac.new(secret, f"secure sum {about}".encode(), hashlib.sha384).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") >> 8 | 1, CURVE)  # below the curve's order


def public(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half, hexadecimal."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()


def masked(sums: State, node: str, key: ec.EllipticCurvePrivateKey, keys: Mapping[str, str]) -> State:
    """Sums (float64) of ``node`` as multiples of :data:`STEP` (int64), masked towards every other node of ``keys``.

    Raises
    ------
    ValueError
        One of the public keys is none, or ``node``'s own is another.
    """
    if keys.get(node) != public(key):
        raise ValueError(f"the key of node {node} is not its own")
    everyone = repr(sorted(keys.items())).encode()
    hidden = {name: (tensor / STEP).round().to(torch.int64).numpy().view(np.uint64) for name, tensor in sums.items()}
    for other, point in keys.items():
        if other == node:
            continue
        shared = generate_shared_key(key, ec.EllipticCurvePublicKey.from_encoded_point(CURVE, bytes.fromhex(point)))
        stream = Cipher(algorithms.ChaCha20(hmac.digest(shared, everyone, "sha256"), bytes(16)), mode=None).encryptor()
        for name in sorted(hidden):
            mask = np.frombuffer(stream.update(bytes(hidden[name].nbytes)), np.uint64).reshape(hidden[name].shape)
            hidden[name] = hidden[name] + mask if int(node) < int(other) else hidden[name] - mask
    return {name: torch.from_numpy(numbers.view(np.int64)) for name, numbers in hidden.items()}


def added(one: State, other: State) -> State:
    """The sum of two replies, modulo 2^64."""
    pairs = {name: (one[name].numpy().view(np.uint64), other[name].numpy().view(np.uint64)) for name in one}
    return {name: torch.from_numpy((a + b).view(np.int64)) for name, (a, b) in pairs.items()}


def total(hidden: State) -> State:
    """The sums (float64), once all nodes' are added."""
    return {name: tensor.double() * STEP for name, tensor in hidden.items()}
