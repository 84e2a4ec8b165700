"""A private certificate authority, the server's certificate, and the nodes' keys.

All keys are P-384 keys, as Flower's node authentication requires. Private ones are readable only by their owner, and
none is ever overwritten.
"""

import datetime
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import regular

ALWAYS = ("localhost", "127.0.0.1")
"""Names in every server certificate, by which the SuperLink's own processes reach it."""

CLOCKS_DIFFER = datetime.timedelta(hours=1)
"""Certificates are valid from this long before now, for machines whose clocks are behind."""

USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def make_ca(folder: Path, name: str, days: int) -> Path:
    """Make a certificate authority, ``ca.key`` and ``ca.crt``; the path of the latter. It must not exist yet."""
    key, file = ec.generate_private_key(ec.SECP384R1()), folder / "ca.crt"
    subject = _name(f"{name} certificate authority")
    builder = _certificate(subject, key.public_key(), subject, days, "key_cert_sign", "crl_sign")
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    _write({folder / "ca.key": _pem(key), file: _signed(builder, key)})
    return file


def make_server_certificate(folder: Path, names: Sequence[str], days: int, renew: bool = False) -> Path:
    """Make the server's key and certificate (``server.key``, ``server.crt``), signed by the folder's CA.

    ``names`` are the host names and IP addresses by which it is reached; those of the machine itself are added. With
    ``renew``, an existing certificate is replaced.

    Raises
    ------
    VegasError
        It already exists, or the CA does not.
    """
    key_file, file = folder / "server.key", folder / "server.crt"
    if not renew:
        _refuse(key_file, file, remedy="; for a new certificate of the same CA, use --renew")
    authority, authority_key = read_certificate(folder / "ca.crt"), _read_key(folder / "ca.key")
    key = ec.generate_private_key(ec.SECP384R1())
    all_names = list(dict.fromkeys([*names, *ALWAYS]))
    identity = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _certificate(_name(all_names[0][:64]), key.public_key(), authority.subject, days, "digital_signature")
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identity, critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in all_names]), critical=False)
    )
    new = {path: path.with_suffix(f"{path.suffix}.new") for path in (key_file, file)}
    for path in new.values():  # left by an interrupted command
        path.unlink(missing_ok=True)
    _write({new[key_file]: _pem(key), new[file]: _signed(builder, authority_key)})
    for path, written in new.items():  # only now, with both on disk, is the old pair replaced
        os.replace(written, path)
    return file


def make_node_key(path: Path) -> Path:
    """Make a node's private key at ``path`` and the public one at ``<path>.pub``; the path of the latter. It must not
    exist yet."""
    public, key = path.with_name(f"{path.name}.pub"), ec.generate_private_key(ec.SECP384R1())
    ssh = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    _write({path: _pem(key, serialization.PrivateFormat.OpenSSH), public: ssh + b"\n"})
    return public


@dataclass(frozen=True)
class Certificate:
    """Names, remaining days and fingerprint of a certificate."""

    names: tuple[str, ...]
    days_left: float
    fingerprint: str


def look_at(path: Path) -> Certificate:
    """Read what the checks need from a certificate."""
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
        return "server.key is not the key of server.crt; make both again with --renew"
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "server.crt was not signed by ca.crt; make it again with --renew"
    return None


def odd_node_key(path: Path) -> str | None:
    """Why a node's key, or the public one beside it, would be refused; None if neither would.

    A missing public key is fine: only the server needs it.
    """
    remedy = "remove both and make them again with vegas-fl deploy key"
    try:
        key = serialization.load_ssh_private_key(regular(path).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"{path} cannot be read as a private key ({_reason(error)}); {remedy}"
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        return f"{path} is not a P-384 key; {remedy}"
    public = path.with_name(f"{path.name}.pub")
    try:
        other = serialization.load_ssh_public_key(regular(public).read_bytes()) != key.public_key()
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
        The file does not exist, or is not a certificate.
    """
    try:
        return x509.load_pem_x509_certificate(regular(path).read_bytes())
    except (OSError, ValueError) as error:
        raise VegasError(f"{path} cannot be read as a certificate ({_reason(error)}){_hint(path)}") from error


def _write(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together, all or none, never over existing ones. The first, a private key, is readable
    only by its owner."""
    _refuse(*files)
    written: list[Path] = []
    for path, data in files.items():
        mode = 0o644 if written else 0o600
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                written.append(path)
                file.write(data)
        except OSError as error:
            for made in written:  # half a pair would only be in the way of the next attempt
                made.unlink(missing_ok=True)
            raise VegasError(
                f"{path} cannot be written ({error.strerror}); free the disk or choose another folder"
            ) from error


def _refuse(*paths: Path, remedy: str = "; remove it first to make a new one") -> None:
    for path in paths:
        if os.path.lexists(path):
            raise VegasError(f"{path} already exists and is not overwritten{remedy}")


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, days: int, *usages: str
) -> x509.CertificateBuilder:
    """What the certificates of the CA and of the server have in common."""
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
        .add_extension(x509.KeyUsage(**{usage: usage in usages for usage in USAGES}), critical=True)
    )


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(
    key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(regular(path).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise VegasError(f"{path} cannot be read as a private key ({_reason(error)}){_hint(path)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise VegasError(f"{path} is not an elliptic-curve key{_hint(path)}")
    return key


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else (str(error) or type(error).__name__).splitlines()[0]


def _hint(path: Path) -> str:
    made_by = {"ca": "vegas-fl deploy ca", "server": "vegas-fl deploy certificate"}.get(path.stem)
    return f"; make it on the server with `{made_by}`, and copy ca.crt to nodes and users" if made_by else ""
