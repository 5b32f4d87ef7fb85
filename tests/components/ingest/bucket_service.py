"""A local service that TensorFlow's client of gs:// uses in place of Google's.

The client has one fixed host, which it connects to with TLS. A proxy redirects these connections, and the client trusts
a certificate that is made here; both are set by environment variables.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "storage.googleapis.com"
BUCKETS = ("music", "work")
PAGE = 1_000
"""Names in one response, as in Google's service."""


class Service(http.server.ThreadingHTTPServer):
    """Stores objects by bucket and name, and the paths of all requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.uploads: list[str] = []

    def page(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """Return a page of a listing."""
        start, most = int(query.get("pageToken", 0)), int(query.get("maxResults", PAGE))
        prefix, delimiter = f"{bucket}/{query.get('prefix', '')}", query.get("delimiter")
        names = [name for name in sorted(self.objects) if name.startswith(prefix)]
        folders = set()
        if delimiter:
            below = {name: name[len(prefix) :].partition(delimiter) for name in names}
            folders = {prefix + first + delimiter for first, found, _ in below.values() if found}
            names = [name for name in names if not below[name][1]]
        items = [{"name": name.partition("/")[2]} for name in names[start : start + most]]
        page: dict[str, Any] = {"items": items, "prefixes": sorted(name.partition("/")[2] for name in folders)}
        return page | ({"nextPageToken": str(start + most)} if start + most < len(names) else {})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        service, url = self.server, urllib.parse.urlsplit(self.path)
        service.requests.append(self.path)
        rest = url.path.removeprefix("/storage/v1/b/")
        if not url.path.startswith("/storage/v1/b/"):
            self._content(urllib.parse.unquote(url.path[1:]))
        elif found := re.fullmatch(r"([^/]+)/o", rest):
            self._answer(200, service.page(found[1], dict(urllib.parse.parse_qsl(url.query))))
        elif found := re.fullmatch(r"([^/]+)/o/(.+)", rest):
            content = service.objects.get(f"{found[1]}/{urllib.parse.unquote(found[2])}")
            metadata = {"size": str(len(content or b"")), "generation": "1", "updated": "2026-01-02T03:04:05.678Z"}
            self._answer(404 if content is None else 200, metadata)
        else:
            self._answer(200 if rest in BUCKETS else 404, {})

    def do_POST(self) -> None:
        """Start an upload."""
        url = urllib.parse.urlsplit(self.path)
        bucket = url.path.split("/")[-2]
        self.server.uploads.append(f"{bucket}/{dict(urllib.parse.parse_qsl(url.query))['name']}")
        place = f"https://{HOST}/upload/{len(self.server.uploads) - 1}"
        self._answer(200 if bucket in BUCKETS else 404, {}, Location=place)

    def do_PUT(self) -> None:
        """Receive an upload in chunks."""
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.server.objects[self.server.uploads[int(self.path.rpartition("/")[2])]] = content
        self._answer(200, {})

    def _content(self, name: str) -> None:
        content = self.server.objects.get(name)
        if content is None:
            self._answer(404, {})
            return
        first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
        self._answer(206 if first < len(content) else 416, content[first : last + 1])

    def _answer(self, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def service(folder: Path) -> Iterator[tuple[Service, dict[str, str]]]:
    """Run a service; yields it and the environment variables with which TensorFlow uses it."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Service() as server, socket.create_server(("127.0.0.1", 0)) as proxy:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        for work, arguments in ((server.serve_forever, ()), (_accept, (proxy, server.server_port))):
            threading.Thread(target=work, args=arguments, daemon=True).start()
        environment = {
            "https_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}",
            "no_proxy": "",
            "CURL_CA_BUNDLE": str(certificate),
            "NO_GCE_CHECK": "true",
            "GOOGLE_APPLICATION_CREDENTIALS": "",
        }
        yield server, environment
        server.shutdown()


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("www.googleapis.com")]), False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (file := folder / "certificate.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def _accept(proxy: socket.socket, port: int) -> None:
    """Connect each client of the proxy with the service."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = proxy.accept()
            threading.Thread(target=_connect, args=(client, port), daemon=True).start()


def _connect(client: socket.socket, port: int) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as there:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(1)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=_forward, args=(there, client), daemon=True)
        back.start()
        _forward(client, there)
        back.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
