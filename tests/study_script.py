"""Run a small study in a process of its own, for the tests that kill it: ``python study_script.py STORE``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import make_toy_images

from mri_aug.models.training import TrainConfig
from mri_aug.study.conditions import thesis_arms
from mri_aug.study.run import run_study
from mri_aug.study.store import Store

N_SIMULATIONS = 6


def small_study(store: Path, **options):
    """Thirty simulations of about a third of a second each."""
    options |= dict(store=Store(store), config=TrainConfig(epochs=2, batch_size=16))
    return run_study(thesis_arms(0.3), make_toy_images(), n_simulations=N_SIMULATIONS, seed=0, **options)


if __name__ == "__main__":
    small_study(Path(sys.argv[1]), n_jobs=2)
