"""The key under which patients' identifiers are hashed, and the hash.

A plain hash hides nothing: identifiers in hospitals are numbers of a few digits, and whoever hashes all of them finds
every patient again. With a secret key only its holder can. The key decides about equal hashes, so the nodes and the
people who add to one data set need the same one: clusters set ``RAYCXR_PATIENT_KEY`` from a Secret, otherwise every
user has a key of their own in a file.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from raycxr.errors import ConfigurationError, StorageError
from raycxr.storage.failures import local_failures

KEY_VARIABLE = "RAYCXR_PATIENT_KEY"
HASH_DIGITS = 16
_KEY_BYTES = 32
# A word that somebody has thought of is tried sooner or later.
_FEWEST_CHARACTERS = 16


def load_patient_key() -> bytes:
    """Return the key: that of ``$RAYCXR_PATIENT_KEY``, else that of ``~/.config/raycxr/patient.key``.

    The file is made on first use: 32 random bytes, written as 64 hexadecimal digits and readable by its owner alone.
    Its text in the variable is the same key.

    Raises
    ------
    ConfigurationError
        If the key is shorter than 16 characters.
    StorageError
        If the file cannot be read or made, or there is no home folder.
    """
    variable = os.environ.get(KEY_VARIABLE)
    if variable is not None:
        return _checked(os.fsencode(variable), f"${KEY_VARIABLE}", "set it to the output of: openssl rand -hex 32")
    try:
        path = Path.home() / ".config" / "raycxr" / "patient.key"
        with local_failures("read or make", path):
            if not path.exists():
                _make_key(path)
            text = path.read_bytes()
    except (RuntimeError, StorageError) as error:
        # Pods often have no home folder (which pathlib tells by a RuntimeError), or one that cannot be written.
        message = error.message if isinstance(error, StorageError) else "there is no home folder to keep a key in"
        raise StorageError(message, f"set ${KEY_VARIABLE}") from error
    return _checked(text, str(path), "restore it; a new key, made once it is deleted, gives every patient a new hash")


def hash_patient(key: bytes, patient_id: str) -> str:
    """Return 16 hexadecimal digits that stand for a patient (HMAC-SHA256, RFC 2104, cut to 64 bits).

    Spaces around the identifier count for nothing, as in DICOM (PS3.5, section 6.2, LO).
    """
    text = patient_id.strip().encode("utf-8", "surrogatepass")
    return hmac.new(key, text, "sha256").hexdigest()[:HASH_DIGITS]


def _checked(text: bytes, origin: str, remedy: str) -> bytes:
    # Secrets made from files often end with a line feed.
    key = text.strip()
    if len(key) < _FEWEST_CHARACTERS:
        raise ConfigurationError(
            f"{origin} holds a key of {len(key)} characters, at least {_FEWEST_CHARACTERS} are needed", remedy
        )
    return key


def _make_key(path: Path) -> None:
    """Write a new key whole and for its owner alone; where another process was faster, its key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        try:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
            # Unlike a renaming, a link never takes the place of a file that is there already.
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
