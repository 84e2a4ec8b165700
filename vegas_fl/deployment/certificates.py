"""A certificate authority of one's own, the server's certificate, and the nodes' keys.

All keys are elliptic (P-384, which Flower's node authentication wants), private ones are readable by their owner
alone, and none is ever written over.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vegas_fl.core.errors import VegasError

ALWAYS = ("localhost", "127.0.0.1")
"""Names in every server certificate: the SuperLink's own processes call it so."""

CLOCKS_DIFFER = datetime.timedelta(hours=1)
"""Certificates begin so much earlier, for machines whose clocks are behind."""


def make_ca(folder: Path, name: str, days: int) -> Path:
    """A certificate authority: ``ca.key`` and ``ca.crt``, the path of the latter.

    Raises
    ------
    VegasError
        There is one already.
    """
    certificate = folder / "ca.crt"
    _refuse(folder / "ca.key", certificate)
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} certificate authority")])
    usage = {**_usage(key_cert_sign=True), "crl_sign": True}
    made = (
        _begun(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(key, hashes.SHA384())
    )
    _write({folder / "ca.key": _pem(key), certificate: made.public_bytes(serialization.Encoding.PEM)})
    return certificate


def make_server_certificate(folder: Path, names: Sequence[str], days: int, renew: bool = False) -> Path:
    """The server's key and certificate (``server.key``, ``server.crt``), signed by the folder's CA.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Host names and IP addresses it is reached by; those of the machine itself are added.
    days : int
    renew : bool
        Replace a certificate that is there.

    Raises
    ------
    VegasError
        There is one already, or no CA.
    """
    key_file, file = folder / "server.key", folder / "server.crt"
    if not renew:
        _refuse(key_file, file, remedy="; a new certificate of the same CA comes with --renew")
    authority, authority_key = read_certificate(folder / "ca.crt"), _read_key(folder / "ca.key")
    key = ec.generate_private_key(ec.SECP384R1())
    all_names = list(dict.fromkeys([*names, *ALWAYS]))
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    identity = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = (
        _begun(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, all_names[0][:64])]),
            authority.subject,
            key.public_key(),
            days,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**_usage(digital_signature=True)), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(identity, critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in all_names]), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    new = {path: path.with_suffix(f"{path.suffix}.new") for path in (key_file, file)}
    for path in new.values():  # of an attempt that was interrupted
        path.unlink(missing_ok=True)
    _write({new[key_file]: _pem(key), new[file]: made.public_bytes(serialization.Encoding.PEM)})
    for path, written in new.items():  # both are on disk: the old pair goes only now
        os.replace(written, path)
    return file


def make_node_key(path: Path) -> Path:
    """A node's private key at ``path`` and the public one in ``<path>.pub``, whose path is returned.

    Raises
    ------
    VegasError
        There is one already.
    """
    public = path.with_name(f"{path.name}.pub")
    _refuse(path, public)
    key = ec.generate_private_key(ec.SECP384R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    ssh = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    _write({path: key.private_bytes(*form), public: ssh + b"\n"})
    return public


@dataclass(frozen=True)
class Certificate:
    """What the checks want to know of a certificate."""

    names: tuple[str, ...]
    days_left: float
    fingerprint: str


def look_at(path: Path) -> Certificate:
    """Names, days until it expires, and fingerprint of a certificate."""
    certificate = read_certificate(path)
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in alternatives)
    except x509.ExtensionNotFound:
        names = ()
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return Certificate(names, left.total_seconds() / 86400, certificate.fingerprint(hashes.SHA256()).hex()[:16])


def mismatch(folder: Path) -> str | None:
    """Why the server's certificate, its key and the CA do not belong together; None if they do."""
    certificate, authority = read_certificate(folder / "server.crt"), read_certificate(folder / "ca.crt")
    if _read_key(folder / "server.key").public_key() != certificate.public_key():
        return "server.key is not the key of server.crt; make both anew with --renew"
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "server.crt was not signed by ca.crt; make it anew with --renew"
    return None


def odd_node_key(path: Path) -> str | None:
    """Why a node's key, or the public one beside it, would be refused; None if neither would.

    A public key that is not there is no mistake: it is needed on the server alone.
    """
    remedy = "take both away and make them anew with vegas-fl deploy key"
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"{path} cannot be read as a private key ({_reason(error)}); {remedy}"
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        return f"{path} is no key on the curve P-384, which is needed; {remedy}"
    public = path.with_name(f"{path.name}.pub")
    try:
        other = serialization.load_ssh_public_key(public.read_bytes()) != key.public_key()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        return f"{public} cannot be read as a public key ({_reason(error)}); {remedy}"
    return f"{public} is not the public key of {path.name}; {remedy}, and register it" if other else None


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate.

    Raises
    ------
    VegasError
        It is not there, or is none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read as a certificate ({_reason(error)}){_hint(path)}") from error


def readable_by_others(path: Path) -> bool:
    """Whether others than its owner may read a file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _write(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together, all or none, and never over others. Private keys, the first, are their owner's
    alone."""
    written: list[Path] = []
    for path, data in files.items():
        mode = 0o644 if written else 0o600
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                written.append(path)
                file.write(data)
        except OSError as error:
            for made in written:  # half a pair helps nobody, and would be in the way of a whole one
                made.unlink(missing_ok=True)
            if isinstance(error, FileExistsError) and os.path.lexists(path):
                raise VegasError(f"{path} is there already and is not written over; take it away first") from error
            raise VegasError(
                f"{path} cannot be written ({error.strerror}); free the disk or choose another folder"
            ) from error


def _refuse(*paths: Path, remedy: str = "") -> None:
    for path in paths:
        if os.path.lexists(path):
            raise VegasError(f"{path} is there already and is not written over{remedy}")


def _usage(**wanted: bool) -> dict[str, bool]:
    keys = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return {key: wanted.get(key, False) for key in keys}


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise VegasError(f"{path} cannot be read as a private key ({_reason(error)}){_hint(path)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise VegasError(f"{path} is no elliptic key; make one with vegas-fl deploy{_hint(path)}")
    return key


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else (str(error) or type(error).__name__).splitlines()[0]


def _hint(path: Path) -> str:
    made_by = {"ca": "vegas-fl deploy ca", "server": "vegas-fl deploy certificate"}.get(path.stem)
    return f"; `{made_by}` makes it on the server, nodes and users copy ca.crt" if made_by else ""
