"""The bank: every variation kept by content, with where it came from, so that none is made twice.

A variation is one PNG file, named by a hash of the generator's fingerprint, the source image, its label and the
variation's number, and holding its own provenance as JSON in a text chunk: picture and record cannot part. The bank
makes no image itself, deletes none, and needs no database and no lock.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor
from tqdm.auto import tqdm

from mri_aug.generators.base import ImageGenerator, check_images, image_digests
from mri_aug.imageset import IMAGE_SIZE

_CHUNK = "provenance"  # name of the PNG text chunk


@dataclass(frozen=True)
class Bank:
    """A folder of variations, shared by any number of studies and processes.

    Files are written whole and then renamed into place, so a kill loses at most the chunk being made. Where two
    writers make the same variation at the same moment, the later file stays. A file whose pixels or record do not
    match their checksum is reported by a warning, counts as missing, and is replaced when next asked for.

    Parameters
    ----------
    folder : Path or str
        Made on first writing.
    offline : bool
        Answer from the folder alone: what is missing is an error, never a request to a generator.
    """

    folder: Path | str
    offline: bool = False

    def vary(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *,
        indices: Sequence[int], source_ids: Sequence[int], chunk_size: int = 32, progress: bool = False,
    ) -> Tensor:  # fmt: skip
        """Return one variation per image: kept ones as they are, the missing made, kept, and returned.

        Parameters
        ----------
        generator : ImageGenerator
            Fitted, if it learns from the study. It gets the variation's number as its seed, so that a reproducible
            generator makes the same variation whatever else was missing.
        images : Tensor of uint8, shape (n, 1, 128, 128)
            The real images to vary; one image may occur several times under different numbers.
        labels : Tensor of int64, shape (n,)
        indices : sequence of int, length n
            Number of the variation among those of its source, from 0; the same number is the same variation.
        source_ids : sequence of int, length n
            ``ImageSet.source_ids`` of the images, for the record.
        chunk_size : int
            Variations requested at a time; all of them are kept before the next request.
        progress : bool
            Show a bar over the variations to be made.

        Returns
        -------
        Tensor of uint8, shape (n, 1, 128, 128)

        Raises
        ------
        LookupError
            If ``offline`` and some are missing; it says how many.
        ValueError
            If lengths disagree, an index is negative, or the generator answers with another shape or type.
        OSError
            If the folder cannot be written; what was kept before remains.
        """
        records = _records(generator, images, labels, indices)
        if len(source_ids) != len(records):
            raise ValueError(f"source_ids must be one per image, got {len(source_ids)} for {len(records)} images")
        kept = self._kept(records)
        missing = _first_of_each(records, kept)
        if missing and self.offline:
            raise LookupError(
                f"{len(missing)} of the variations by {generator.name!r} asked for are not in the bank {self.folder}, "
                "which is offline; make them with offline=False first"
            )
        with tqdm(total=len(missing), desc=f"{generator.name} variations", disable=not progress) as bar:
            for rows in _chunks(missing, records, chunk_size):
                made = generator.vary(images[rows], labels[rows], seed=records[rows[0]]["index"])
                for row, pixels in zip(rows, _checked(made, generator, len(rows)), strict=True):
                    record = {**records[row], "source_id": int(source_ids[row])}
                    kept[record["key"]] = self._keep(record, pixels)
                bar.update(len(rows))
        return _stack([kept[record["key"]] for record in records])

    def missing(
        self, generator: ImageGenerator, images: Tensor, labels: Tensor, *, indices: Sequence[int]
    ) -> list[int]:
        """Return the positions of the variations that :meth:`vary` would request, each variation once."""
        records = _records(generator, images, labels, indices)
        return _first_of_each(records, self._kept(records))

    def records(self) -> list[dict]:
        """Return the provenance of every intact variation, in the order of their keys.

        Each holds key, generator, fingerprint, source_sha256, source_id, label, index, pixels_sha256 and made (the
        time in UTC, ISO 8601). Damaged files are named in a warning and left out.
        """
        read = (self._read(path.stem) for path in sorted(Path(self.folder).glob("??/*.png")))
        return [found[1] for found in read if found]

    def count(self) -> int:
        """Return the number of variations kept, without checking them."""
        return sum(1 for _ in Path(self.folder).glob("??/*.png"))

    def _kept(self, records: list[dict]) -> dict[str, np.ndarray]:
        found = ((key, self._read(key)) for key in dict.fromkeys(record["key"] for record in records))
        return {key: content[0] for key, content in found if content}

    def _path(self, key: str) -> Path:
        return Path(self.folder) / key[:2] / f"{key}.png"

    def _read(self, key: str) -> tuple[np.ndarray, dict] | None:
        """Return pixels and record, or None where the file is absent or (with a warning) damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                pixels, record = np.array(picture), json.loads(picture.text[_CHUNK])
            if record["key"] != key or record["pixels_sha256"] != _checksum(pixels):
                raise ValueError("checksum differs")
        except (OSError, ValueError, KeyError, SyntaxError, EOFError) as error:  # Pillow has no one class for it
            warnings.warn(f"{path} is damaged ({error}); the bank treats it as missing", RuntimeWarning, stacklevel=2)
            return None
        return pixels, record

    def _keep(self, record: dict, pixels: np.ndarray) -> np.ndarray:
        """Write one variation and return the bank's pixels: another writer's, if it was quicker."""
        if self._path(record["key"]).exists() and (found := self._read(record["key"])):
            return found[0]
        made = datetime.now(UTC).isoformat(timespec="seconds")
        text = PngImagePlugin.PngInfo()
        text.add_text(_CHUNK, json.dumps({**record, "pixels_sha256": _checksum(pixels), "made": made}))
        path = self._path(record["key"])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            Image.fromarray(pixels).save(part, format="PNG", pnginfo=text)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return pixels


def _checksum(pixels: np.ndarray) -> str:
    return hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _records(generator: ImageGenerator, images: Tensor, labels: Tensor, indices: Sequence[int]) -> list[dict]:
    """Return what is known of each variation before it is made, its key included."""
    check_images(images, labels)
    if len(indices) != len(images) or any(index < 0 for index in indices):
        raise ValueError(
            f"indices must be one number from 0 upwards per image, {len(images)} in all, got {list(indices)[:8]}..."
        )
    fingerprint, records = generator.fingerprint, []
    for digest, label, index in zip(image_digests(images), labels.tolist(), indices, strict=True):
        identity = {"fingerprint": fingerprint, "source_sha256": digest, "label": label, "index": int(index)}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        records.append({"key": key, "generator": generator.name, **identity})
    return records


def _first_of_each(records: list[dict], kept: dict[str, np.ndarray]) -> list[int]:
    first: dict[str, int] = {}
    for row, record in enumerate(records):
        if record["key"] not in kept:
            first.setdefault(record["key"], row)
    return list(first.values())


def _chunks(missing: list[int], records: list[dict], size: int) -> Iterator[list[int]]:
    """Yield positions, at most ``size`` at a time and of one variation number, which is the seed."""
    for number in sorted({records[row]["index"] for row in missing}):
        rows = [row for row in missing if records[row]["index"] == number]
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _stack(pixels: list[np.ndarray]) -> Tensor:
    empty = np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return torch.from_numpy(np.stack(pixels) if pixels else empty)[:, None]


def _checked(variations: Tensor, generator: ImageGenerator, n_expected: int) -> np.ndarray:
    shape = (n_expected, 1, IMAGE_SIZE, IMAGE_SIZE)
    if variations.dtype != torch.uint8 or tuple(variations.shape) != shape:
        raise ValueError(
            f"generator {generator.name!r} answered with {variations.dtype} of shape {tuple(variations.shape)}, "
            f"expected uint8 of shape {shape}"
        )
    return variations[:, 0].numpy()
