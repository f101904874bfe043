"""A study in a fresh interpreter that leaves a mark at its first training step: ``python -m benchmarks.first_step``.

The mark is the wall clock's time. Everything else is what any study does, so nothing is imported that one would not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.settings import read_images
from mri_aug.models.training import TrainConfig
from mri_aug.study.conditions import Condition
from mri_aug.study.run import run_study
from mri_aug.study.store import Store


@dataclass(frozen=True)
class Marker:
    """A generator that copies images, and has the optimiser's first step in its process write the time."""

    mark: str  # path of the file to write, once
    name = "marker"
    fingerprint = "marker"
    learns_from_study = False
    reproducible = True

    def vary(self, images, labels, *, seed):
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(self._write)
        return images.clone()

    def _write(self, *_) -> None:
        try:
            with open(self.mark, "x", encoding="utf-8") as file:
                file.write(repr(time.time()))
        except FileExistsError:
            pass  # an earlier step's, or the other process's


def main() -> None:
    work, mark = sys.argv[1:]
    condition = Condition(real_frac=0.5, synth_frac=0.1, generator="marker")
    with tempfile.TemporaryDirectory() as folder:
        run_study(
            [condition], read_images(Path(work)), n_simulations=2, seed=0, store=Store(Path(folder) / "store.sqlite"),
            config=TrainConfig(epochs=1), generators={"marker": Marker(mark)},
        )  # fmt: skip


if __name__ == "__main__":
    main()
