"""A crowd of simulated people for tests that need one but do not test how it is kept; made once, in seconds."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np

from mri_aug import provenance
from mri_aug.data.phantom.crowd import Crowd, load_crowd


@cache
def small_crowd() -> Crowd:
    """Return eight people, in memory."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(provenance, "artifacts", lambda *parts: Path(folder, *parts)),
    ):
        crowd = load_crowd(n_people=8, n_jobs=1)
        return Crowd(np.array(crowd.tissue), crowd.severity)
