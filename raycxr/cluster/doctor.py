"""What is wrong with a machine, a pod or a cluster, and how to mend it."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

import raycxr
from raycxr.errors import RaycxrError, first_line
from raycxr.number_text import byte_size

# A container has 64 MB unless told otherwise; Ray's object store wants more than its smallest size of 75 MB.
SHM_BYTES = 1_000_000_000
# S3 refuses requests whose clock differs by more than 15 minutes.
SKEW_SECONDS = 60.0
_OLDEST_PYTHON = (3, 11)
_VERBS = {"rayclusters": ("get", "list", "patch"), "rayjobs": ("get", "list", "create")}


class DoctorError(RaycxrError):
    """Some checks found something wrong."""

    kind = "doctor"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    ok : bool
        False only where something is wrong; what is absent and not asked for is not.
    remedy : str
        Empty where nothing is wrong.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(storage: str | None, address: str | None, shm: Path = Path("/dev/shm")) -> list[Check]:
    """Look at this machine, and at what is asked for.

    Parameters
    ----------
    storage : str or None
        Folder or prefix in which files are put, read, listed and deleted.
    address : str or None
        Job API of a cluster.
    shm : Path
        Where the shared memory is mounted.
    """
    checks = [
        _check("python", _python),
        _check("raycxr", lambda: Check("raycxr", True, f"{raycxr.__version__} in {Path(raycxr.__file__).parent}")),
        _check("ray", lambda: _package("ray")),
        _check("torch", lambda: _package("torch")),
        _check("gpu", _gpu),
        _check("shm", lambda: _shm(shm)),
    ]
    if storage is not None:
        checks.append(_check("storage", lambda: _storage(storage)))
        if storage.startswith("s3://") and checks[-1].ok:
            checks.append(_check("clock", lambda: _clock(storage)))
    if address is not None:
        checks.append(_check("cluster", lambda: _cluster(address)))
    checks.append(_check("kubernetes", _kubernetes))
    return checks


def _check(name: str, look: Callable[[], Check]) -> Check:
    """Make a check; a failure of it is a finding, not the end of the others."""
    try:
        return look()
    except RaycxrError as error:
        return Check(name, False, error.message, error.remedy)
    except Exception as error:  # a broken installation may raise anything
        first = first_line(error)
        return Check(
            name, False, f"{type(error).__name__}: {first}", "install it again: pip install -r requirements.lock"
        )


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", False, found, f"install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    return Check("python", True, f"{found} on {platform.system()} {platform.machine()}")


def _package(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", "pip install -r requirements.lock")


def _gpu() -> Check:
    import torch

    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Check("gpu", True, ", ".join(names))
    if devices:
        remedy = f"torch is made for CUDA {torch.version.cuda}: see nvidia-smi for the driver's; the CPU image has none"
        return Check("gpu", False, f"{', '.join(devices)} is there, but torch cannot use it", remedy)
    return Check("gpu", True, "none; training runs on the CPU")


def _shm(place: Path) -> Check:
    if not place.exists():
        return Check("shm", True, f"no {place} on this system")
    size = shutil.disk_usage(place).total
    if size < SHM_BYTES:
        return Check(
            "shm",
            False,
            f"{place} has {byte_size(size)}: loaders die of it, and Ray's object store goes to disk",
            "mount an emptyDir with medium: Memory there (k8s/base does), or docker run --shm-size=8g",
        )
    return Check("shm", True, f"{place} has {byte_size(size)}")


def _storage(uri: str) -> Check:
    from raycxr.storage.check import check_writable
    from raycxr.storage.location import Location

    location = Location(uri)
    began = time.monotonic()
    check_writable(location)
    return Check("storage", True, f"{location}: put, get, list and delete in {time.monotonic() - began:.2g} s")


def _clock(uri: str) -> Check:
    from raycxr.storage.patience import first_contact
    from raycxr.storage.s3_connection import attempt

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    with first_contact():
        # What a role for one prefix may ask, unlike HeadBucket.
        answer = attempt(
            "list", uri, lambda client: client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix.strip('/')}/", MaxKeys=1)
        )
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if told is None:
        return Check("clock", True, "the storage tells no time")
    skew = time.time() - parsedate_to_datetime(told).timestamp()
    if abs(skew) > SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        return Check(
            "clock", False, f"{abs(skew):.0f} s {way} the storage's", "set the clock, such as by chrony or NTP"
        )
    return Check("clock", True, "within a minute of the storage's")


def _cluster(address: str) -> Check:
    from raycxr.cluster.job_access import connect_job_api

    api = connect_job_api(address)
    api.check_same_version()
    jobs = [job for job in api.list_jobs() if job.submission_id is not None]
    running = sum(not job.status.is_terminal() for job in jobs)
    return Check("cluster", True, f"{api.get_address()}: Ray {api.ray_version}, {running} of {len(jobs)} jobs running")


def _kubernetes() -> Check:
    from raycxr.cluster.kubeconfig import connect_kubernetes, has_kubernetes
    from raycxr.cluster.kubernetes_api import KubernetesError

    found = has_kubernetes()
    if found is None:
        return Check(
            "kubernetes", True, "neither a kubeconfig nor a ServiceAccount; scale and submit --rayjob need one"
        )
    try:
        kubernetes = connect_kubernetes()
        rights = {
            f"{verb} {plural}": kubernetes.may(verb, plural) for plural, verbs in _VERBS.items() for verb in verbs
        }
        if rights["list rayclusters"]:
            # Rights may be given for a kind that is not there.
            kubernetes.list("rayclusters")
    except KubernetesError as error:
        if found == "account":
            # Every pod has an account, and most need no API server, which a NetworkPolicy may close.
            return Check("kubernetes", True, f"not needed here, and not open: {error.message}")
        raise
    may = [right for right, allowed in rights.items() if allowed]
    may_not = [right for right, allowed in rights.items() if not allowed]
    detail = f"{kubernetes.origin}, namespace {kubernetes.namespace}: may {', '.join(may) or 'nothing'}"
    return Check("kubernetes", True, detail + (f"; may not {', '.join(may_not)}" if may_not else ""))


def wrong(checks: list[Check]) -> DoctorError | None:
    """Name the checks that found something, or None."""
    names = [check.name for check in checks if not check.ok]
    if not names:
        return None
    remedies = [check.remedy for check in checks if not check.ok]
    count = f"{len(names)} of {len(checks)} checks found something wrong: {', '.join(names)}"
    return DoctorError(count, remedies[0] if len(remedies) == 1 else "see the remedy beside each")
