"""Signed registries whose keys are in key services, through the services' own clients.

`make test-key-services` runs it, in an environment with the clients of Google, Microsoft, and HashiCorp. The services
are servers of this process, written from their documented APIs, which check credentials and sign with P-256 keys. The
clients find them by the names of the real services, by way of a proxy, over TLS. Amazon's is in the suite.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from google.cloud import kms_v1

from components.core.errors import RegistryError
from components.trust import rollout
from components.trust.repository import SignedRegistry
from components.trust.setup import add_device_class, create, rotate
from components.trust.storage import FolderStore

SECRET = "hunter22-correct-horse"
GOOGLE_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
URIS = {
    "gcpkms": f"gcpkms:{GOOGLE_KEY}",
    "azurekms": "azurekms://mill.vault.azure.net/keys/signing/1",
    "hv": "hv:signing/1",
}
_HOSTS = ("cloudkms.googleapis.com", "mill.vault.azure.net", "login.microsoftonline.com")


class Services:
    """The servers, and the key that each of them holds.

    Attributes:
        denied: Whether every service refuses to sign.
        signed: Names of the services that signed something.
    """

    def __init__(self, folder: Path) -> None:
        self.keys = {scheme: ec.generate_private_key(ec.SECP256R1()) for scheme in URIS}
        self.denied = False
        self.signed: set[str] = set()
        self.authority, chain, key = _certificates(folder)
        self._stops: list[Callable[[], Any]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        microsoft = self._serve(_microsoft(self), context)
        vault = self._serve(_vault(self), None)
        google = self._serve_google(chain.read_bytes(), key.read_bytes())
        proxy = _proxy({_HOSTS[0]: google, _HOSTS[1]: microsoft, _HOSTS[2]: microsoft})
        account = folder / "account.json"
        account.write_text(json.dumps(_account()))
        self.environment = {
            "VAULT_ADDR": f"http://127.0.0.1:{vault}",
            "VAULT_TOKEN": SECRET,
            "AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000001",
            "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000002",
            "AZURE_CLIENT_SECRET": SECRET,
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
            "https_proxy": f"http://127.0.0.1:{proxy}",
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(self.authority),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.authority),
        }

    def public_key(self, scheme: str) -> bytes:
        return self.keys[scheme].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign_digest(self, scheme: str, digest: bytes) -> bytes:
        self.signed.add(scheme)
        return self.keys[scheme].sign(digest, ec.ECDSA(Prehashed(SHA256())))

    def stop(self) -> None:
        for stop in self._stops:
            stop()

    def _serve(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._stops += [server.shutdown, server.server_close]
        return int(server.server_address[1])

    def _serve_google(self, chain: bytes, key: bytes) -> int:
        def asymmetric_sign(request: Any, context: grpc.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata())
            if self.denied or not str(metadata.get("authorization", "")).startswith("Bearer "):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "cloudkms.cryptoKeyVersions.useToSign denied")
            if request.name != GOOGLE_KEY:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such key")
            return kms_v1.AsymmetricSignResponse(signature=self.sign_digest("gcpkms", request.digest.sha256))

        method = grpc.unary_unary_rpc_method_handler(
            asymmetric_sign,
            request_deserializer=kms_v1.AsymmetricSignRequest.deserialize,
            response_serializer=kms_v1.AsymmetricSignResponse.serialize,
        )
        service = "google.cloud.kms.v1.KeyManagementService"
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"AsymmetricSign": method})])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
        server.start()
        self._stops.append(lambda: server.stop(None))
        return int(port)


class _Json(BaseHTTPRequestHandler):
    """Answers in JSON."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: object, challenge: str = "") -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        pass


def _vault(services: Services) -> type[BaseHTTPRequestHandler]:
    """The transit secrets engine: it hashes with SHA-256 and answers in ASN.1, unless a request says otherwise."""

    class Vault(_Json):
        def do_POST(self) -> None:
            asked = json.loads(self.body())
            if services.denied or self.headers.get("X-Vault-Token") != SECRET:
                return self.answer(403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
            if self.path != "/v1/transit/sign/signing" or asked["key_version"] != 1:
                return self.answer(400, {"errors": ["signing key not found"]})
            digest = hashlib.sha256(base64.b64decode(asked["input"])).digest()
            signature = base64.b64encode(services.sign_digest("hv", digest)).decode()
            return self.answer(200, {"data": {"signature": f"vault:v1:{signature}", "key_version": 1}})

    return Vault


def _microsoft(services: Services) -> type[BaseHTTPRequestHandler]:
    """The directory that issues tokens, and Azure Key Vault."""

    class Microsoft(_Json):
        def do_GET(self) -> None:
            if "/discovery/instance" in self.path:
                return self.answer(
                    200, {"tenant_discovery_endpoint": f"{_LOGIN}/v2.0/.well-known/openid-configuration"}
                )
            if "openid-configuration" in self.path:
                return self.answer(
                    200,
                    {
                        "issuer": f"{_LOGIN}/v2.0",
                        "authorization_endpoint": f"{_LOGIN}/oauth2/v2.0/authorize",
                        "token_endpoint": f"{_LOGIN}/oauth2/v2.0/token",
                    },
                )
            if not self._authorized():
                return None
            numbers = services.keys["azurekms"].public_key().public_numbers()
            key = {"kid": _AZURE_KEY, "kty": "EC", "crv": "P-256", "key_ops": ["sign", "verify"]}
            key |= {name: _unpadded(getattr(numbers, name).to_bytes(32, "big")) for name in ("x", "y")}
            return self.answer(200, {"key": key, "attributes": {"enabled": True}})

        def do_POST(self) -> None:
            content = self.body()
            if self.path.endswith("/oauth2/v2.0/token"):
                if parse_qs(content.decode()).get("client_secret") != [SECRET]:
                    return self.answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215"})
                return self.answer(200, {"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
            if not self._authorized():
                return None
            asked = json.loads(content)
            if services.denied or asked["alg"] != "ES256":
                return self.answer(403, {"error": {"code": "Forbidden", "message": "keys/sign is not permitted"}})
            digest = base64.urlsafe_b64decode(asked["value"] + "=" * (-len(asked["value"]) % 4))
            r, s = decode_dss_signature(services.sign_digest("azurekms", digest))
            value = _unpadded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            return self.answer(200, {"kid": _AZURE_KEY, "value": value})

        def _authorized(self) -> bool:
            if self.headers.get("Authorization") == "Bearer token":
                return True
            challenge = f'Bearer authorization="{_LOGIN}", resource="https://vault.azure.net"'
            self.answer(401, {"error": {"code": "Unauthorized"}}, challenge)
            return False

    return Microsoft


_LOGIN = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001"
_AZURE_KEY = URIS["azurekms"].replace("azurekms:", "https:")


def _unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _account() -> dict[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "client_email": "mill@p.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": pem,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """The certificate of an authority, one of the services' names that it signed, and its key."""
    own, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])

    def certificate(subject: x509.Name, public: Any, extension: x509.ExtensionType) -> bytes:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        made = made.not_valid_after(now + datetime.timedelta(1)).add_extension(extension, critical=False)
        return made.sign(own, SHA256()).public_bytes(Encoding.PEM)

    paths = folder / "authority.pem", folder / "chain.pem", folder / "key.pem"
    paths[0].write_bytes(certificate(issuer, own.public_key(), x509.BasicConstraints(ca=True, path_length=None)))
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _HOSTS[0])])
    paths[1].write_bytes(certificate(subject, key.public_key(), names))
    paths[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def _proxy(ports: dict[str, int]) -> int:
    """A proxy that leads each name to a port of this machine, and no name elsewhere."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # One side has hung up.
            while content := source.recv(65_536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def connect(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        match = re.match(rb"CONNECT ([\w.]+):443 ", head)
        if match is None or match[1].decode() not in ports:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", ports[match[1].decode()]))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for pair in ((client, server), (server, client)):
            threading.Thread(target=copy, args=pair, daemon=True).start()

    def accept() -> None:
        while True:
            threading.Thread(target=connect, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    running = Services(tmp_path_factory.mktemp("services"))
    before = dict(os.environ)
    # gRPC reads its variables once.
    os.environ.update(running.environment)
    yield running
    os.environ.clear()
    os.environ.update(before)
    running.stop()


REF = rollout.ReleaseRef("0" * 16, "0" * 64, 10, "model.tflite", "0" * 64, 10)


def release(registry: SignedRegistry, version: str) -> None:
    """Sign another release for a channel."""
    ref = rollout.ReleaseRef(version, REF.sha256, 10, REF.file, REF.file_sha256, 10)
    registry.change_channel(
        "phone", "shoes", "stable", lambda state: rollout.released(state, ref), lambda one: one.version.encode()
    )


@pytest.mark.parametrize("scheme", list(URIS))
def test_key_of_every_role_is_in_the_service_and_what_it_signs_verifies(
    services: Services, tmp_path: Path, scheme: str
) -> None:
    root, store = str(tmp_path / "registry"), FolderStore(tmp_path / "registry")
    registry = create(root, store, tmp_path / "keys")
    anchor = registry.keys.root
    add_device_class(registry, "phone", lambda: None)
    for role in ("timestamp", "snapshot", "targets", "phone.stable", "root"):
        # One key for each role in practice.
        rotate(registry, role, (services.public_key(scheme), URIS[scheme]))
    services.signed.clear()
    release(registry, "1" * 16)
    assert services.signed == {scheme}
    assert registry.keys.file.development
    # Read as another machine does, from the first root.
    state = SignedRegistry(root, store, registry.keys).channel("phone", "shoes", "stable")
    assert [one.release.version for one in state.stages] == ["1" * 16]
    assert registry.keys.root == anchor


@pytest.mark.parametrize("scheme", list(URIS))
def test_service_that_refuses_to_sign_changes_nothing_and_no_secret_is_repeated(
    services: Services, tmp_path: Path, scheme: str
) -> None:
    registry = create(str(tmp_path / "registry"), FolderStore(tmp_path / "registry"), tmp_path / "keys")
    add_device_class(registry, "phone", lambda: None)
    rotate(registry, "phone.stable", (services.public_key(scheme), URIS[scheme]))
    services.denied = True
    try:
        with pytest.raises(RegistryError, match=r"a key cannot sign: .*permission to sign") as caught:
            release(registry, "1" * 16)
    finally:
        services.denied = False
    assert SECRET not in str(caught.value)
    assert registry.channel("phone", "shoes", "stable").stages == ()
    release(registry, "1" * 16)
    assert len(registry.channel("phone", "shoes", "stable").stages) == 1


@pytest.mark.parametrize("scheme", list(URIS))
def test_public_key_of_another_key_is_refused(services: Services, tmp_path: Path, scheme: str) -> None:
    registry = create(str(tmp_path / "registry"), FolderStore(tmp_path / "registry"), tmp_path / "keys")
    other = next(one for one in URIS if one != scheme)
    with pytest.raises(Exception, match="the key cannot sign"):
        rotate(registry, "timestamp", (services.public_key(other), URIS[scheme]))
