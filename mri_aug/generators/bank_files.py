"""The files of a bank: one PNG per variation, one JSON per refusal, each whole, sealed and named by its content.

It knows no generator, spends nothing, deletes nothing and needs no lock: a file is written under another name, flushed
to the disk and renamed into place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

_CHUNK = "provenance"  # name of the PNG text chunk
_REFUSED = ".refused.json"


@dataclass(frozen=True)
class BankFiles:
    """The answers kept in a folder, by key; the folder is made on first writing."""

    folder: Path

    def variation(self, key: str, *, warn: bool = True) -> tuple[np.ndarray, dict] | None:
        """Return pixels, uint8 (128, 128), and record; None where the file is absent or (with a warning) damaged."""
        path = self._path(key, ".png")
        return _checked(path, key, _open_png, warn)

    def refusal(self, key: str, *, warn: bool = True) -> dict | None:
        """Return the record of a refusal; None where there is none or it is (with a warning) damaged."""
        path = self._path(key, _REFUSED)
        found = _checked(path, key, lambda content: (None, json.loads(content)), warn)
        return found and found[1]

    def record(self, key: str) -> dict | None:
        """Return the record of an intact answer, given or refused, or None; warns of nothing."""
        found = self.variation(key, warn=False)
        return found[1] if found else self.refusal(key, warn=False)

    def keep_variation(self, record: Mapping[str, object], pixels: np.ndarray) -> None:
        """Write one variation, replacing a damaged file of that key.

        Raises
        ------
        OSError
            If it cannot be written; nothing of it then remains.
        """
        text = PngImagePlugin.PngInfo()
        text.add_text(_CHUNK, json.dumps(_sealed({**record, "pixels_sha256": _digest(pixels)})))
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="PNG", pnginfo=text)
        self._write(self._path(str(record["key"]), ".png"), content.getvalue())

    def keep_refusal(self, record: Mapping[str, object]) -> None:
        """Write that a service refuses this variation; errors as in :meth:`keep_variation`."""
        self._write(self._path(str(record["key"]), _REFUSED), json.dumps(_sealed(record), indent=1).encode())

    def identity(self, *, make: bool) -> str:
        """Return sixteen hexadecimal digits drawn when the folder was first used, or "" where it never was."""
        path = self.folder / "identity"
        if make and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another writer was quicker
                part = self.folder / f"identity.{secrets.token_hex(8)}"
                part.write_text(secrets.token_hex(8), encoding="ascii")
                try:
                    os.link(part, path)  # whole at once, and never over another's
                finally:
                    part.unlink()
        return path.read_text(encoding="ascii") if path.exists() else ""

    def keys(self) -> Iterator[str]:
        """Yield the key of every variation, unchecked, in order."""
        yield from (path.stem for path in sorted(self.folder.glob("??/*.png")))

    def refused_keys(self) -> Iterator[str]:
        """Yield the key of every refusal, unchecked, in order."""
        yield from (path.name.removesuffix(_REFUSED) for path in sorted(self.folder.glob(f"??/*{_REFUSED}")))

    def _path(self, key: str, suffix: str) -> str:
        return os.path.join(self.folder, key[:2], key + suffix)  # noqa: PTH118 (thousands a call: Path is slow)

    @staticmethod
    def _write(name: str, content: bytes) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # it may have been paid for: a power cut must not leave an empty file
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _checked(path: str, key: str, parse, warn: bool) -> tuple[np.ndarray | None, dict] | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    try:
        pixels, record = parse(content)
        seal = record.pop("record_sha256")
        if record["key"] != key or seal != _record_digest(record):
            raise ValueError("the record's checksum differs")
        if pixels is not None and record["pixels_sha256"] != _digest(pixels):
            raise ValueError("the pixels' checksum differs")
    except (OSError, ValueError, KeyError, AttributeError, SyntaxError, EOFError) as error:  # Pillow has no one class
        if warn:
            message = f"{path} is damaged ({error}); the bank treats it as missing"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        return None
    return pixels, record


def _open_png(content: bytes) -> tuple[np.ndarray, dict]:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return np.array(picture), json.loads(picture.text[_CHUNK])


def _sealed(record: Mapping[str, object]) -> dict:
    dated = {**record, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    # through JSON first: the seal is of what will be read back, in which tuples are lists
    dated = json.loads(json.dumps(dated))
    return {**dated, "record_sha256": _record_digest(dated)}


def _record_digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
