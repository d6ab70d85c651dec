"""A true S3 server on this machine: OpenStack Swift with its S3 interface, for tests and for the demo.

``python scripts/s3_server.py --data DIR --bucket NAME`` prints the environment that a client needs and serves
until Ctrl-C. On the first call Swift is installed into an environment of its own, ``$RAYCXR_SWIFT`` or
``~/.cache/raycxr/swift``, from ``scripts/swift-requirements.lock``.

* Four daemons (account, container, object, proxy) on free loopback ports, with one copy of the data.
* Unlike simulators it checks signatures and checksums, so that failures can be tested.
* Every daemon dies with the process that started it, however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from own_environment import make

LOCK_FILE = Path(__file__).with_name("swift-requirements.lock")
REGION = "us-east-1"
READY_SECONDS = 60.0
ADMINISTRATOR = "raycxr:raycxr"
VISITOR = "raycxr:visitor"
"""A user who may do only what a bucket's access list grants."""

_BACKEND = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = healthcheck {role}-server
[app:{role}-server]
use = egg:swift#{role}
[filter:healthcheck]
use = egg:swift#healthcheck
"""

# No `cache`: whatever memcached runs on this machine must not carry one server's state to the next.
# With one copy, avoiding a daemon that failed (for a minute by default) only prolongs its failure.
# Short pages of listings let tests meet several of them.
_PROXY = """\
[DEFAULT]
bind_ip = {host}
bind_port = {port}
workers = 0
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo \
versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 1
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
dns_compliant_bucket_names = true
max_bucket_listing = 100
[filter:tempauth]
use = egg:swift#tempauth
user_raycxr_raycxr = {secret} .admin
user_raycxr_visitor = {visitor_secret}
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""

_SWIFT = """\
[swift-hash]
swift_hash_path_prefix = raycxr
swift_hash_path_suffix = raycxr
[storage-policy:0]
name = default
default = yes
"""


# Where data of each kind lies: 2^4 partitions, 1 copy, on this machine's only 'disk'.
_RINGS = """\
import sys
from swift.common.ring import RingBuilder
folder, *places = sys.argv[1:]
for role, port in (one.split(":") for one in places):
    builder = RingBuilder(4, 1, 0)
    place = {"ip": "127.0.0.1", "port": int(port)}
    replication = {f"replication_{name}": value for name, value in place.items()}
    builder.add_dev({"region": 1, "zone": 1, "weight": 1, "device": "disk", **place, **replication})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{role}.ring.gz")
"""


# The parent holds the other end of the standard input: it closes when the parent ends, however that happens.
_DAEMON = """\
import _thread, os, runpy, sys
def follow(read, parent):
    read(parent, 1)
    os._exit(0)
_thread.start_new_thread(follow, (os.read, os.dup(0)))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class S3Server:
    """A running server; leaving its ``with`` block stops it.

    Parameters
    ----------
    data : Path
        Folder of the stored objects and the configuration; made if missing, kept afterwards.
    secret : str, optional
        Secret key of the administrator; a random one by default.
    host : str, optional
        Address at which clients are answered; the daemons behind it stay on loopback.
    port : int, optional
        Port at which clients are answered; a free one by default.

    Attributes
    ----------
    endpoint : str
        ``http://127.0.0.1:PORT``.
    """

    def __init__(self, data: Path, secret: str = "", host: str = "127.0.0.1", port: int = 0) -> None:
        self.data = data.absolute()
        self.host = host
        self.secret = secret or secrets.token_hex(16)
        self.visitor_secret = secrets.token_hex(16)
        self._python = install() / "bin" / "python"
        self._ports = dict(zip(("account", "container", "object", "proxy"), _free_ports(4), strict=True))
        self._ports["proxy"] = port or self._ports["proxy"]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['proxy']}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which any S3 client reaches this server as its administrator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ADMINISTRATOR,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def __enter__(self) -> S3Server:
        self._configure()
        try:
            self.start(*self._ports)
        except BaseException:  # Ctrl-C while the daemons start must not leave them behind
            self.stop_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(self, *roles: str) -> None:
        """Start daemons (``account``, ``container``, ``object``, ``proxy``) and wait until they answer."""
        for role in roles:
            with (self.data / f"{role}.log").open("ab") as log:
                self._daemons[role] = subprocess.Popen(
                    [self._python, "-c", _DAEMON, self._program(role), self._file(role)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches their parent alone
                )
        deadline = time.monotonic() + READY_SECONDS
        for role in roles:
            while not _answers(f"http://127.0.0.1:{self._ports[role]}/healthcheck"):
                if self._daemons[role].poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"swift-{role}-server did not start; see {self.data}/{role}.log")
                time.sleep(0.05)

    def stop(self, role: str) -> None:
        """Stop one daemon at once, as a crash would; `start` brings it back with its data."""
        daemon = self._daemons.pop(role, None)
        if daemon is not None:
            daemon.kill()
            daemon.communicate()

    def stop_all(self) -> None:
        """Stop every daemon."""
        for role in list(self._daemons):
            self.stop(role)

    def change_secret(self, secret: str) -> None:
        """Give the administrator another secret key; the old one is refused from now on."""
        self.secret = secret
        self.stop("proxy")
        self._write_configuration("proxy")
        self.start("proxy")

    def create_bucket(self, name: str) -> None:
        """Make a bucket, unless the administrator has it already."""
        import boto3
        from botocore.config import Config

        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ADMINISTRATOR,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}),
        )
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=name)

    def _program(self, role: str) -> Path:
        return self._python.with_name(f"swift-{role}-server")

    def _file(self, role: str) -> Path:
        return self.data / f"{role}-server.conf"

    def _configure(self) -> None:
        (self.data / "devices" / "disk").mkdir(parents=True, exist_ok=True)
        (self.data / "swift.conf").write_text(_SWIFT)
        for role in self._ports:
            self._write_configuration(role)
        places = [f"{role}:{port}" for role, port in self._ports.items() if role != "proxy"]
        subprocess.run([self._python, "-c", _RINGS, self.data, *places], check=True)

    def _write_configuration(self, role: str) -> None:
        text = (_PROXY if role == "proxy" else _BACKEND).format(
            role=role,
            host=self.host,
            port=self._ports[role],
            folder=self.data,
            region=REGION,
            secret=self.secret,
            visitor_secret=self.visitor_secret,
        )
        file = self._file(role)
        file.touch(mode=0o600)
        file.write_text(text)


def install() -> Path:
    """Return Swift's environment, made on the first call and again whenever the lock file has changed."""
    folder = Path(os.environ.get("RAYCXR_SWIFT") or "~/.cache/raycxr/swift").expanduser()
    return make("Swift", folder, LOCK_FILE)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description="A true S3 server (OpenStack Swift) on this machine.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the stored objects")
    parser.add_argument("--bucket", help="a bucket to make")
    parser.add_argument("--secret", default="", help="the secret key (default: a random one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=0, help="port to listen at (default: a free one)")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with S3Server(arguments.data, arguments.secret, arguments.host, arguments.port) as server:
        if arguments.bucket:
            server.create_bucket(arguments.bucket)
        for name, value in server.environment.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        print("serving until Ctrl-C", file=sys.stderr)
        stop.wait()


if __name__ == "__main__":
    main()
