"""The memory of one of a study's worker processes, told by itself.

At its head this module imports nothing heavy: what a worker has loaded before it imports torch would not be counted.
"""

from __future__ import annotations

from benchmarks.processes import resident_megabytes


def worker_memory(number: int, images, labels, subjects) -> dict:
    """Return this worker's resident memory in MB: after importing torch, and the most it needed beyond that.

    ``own_mb`` is the part that no other process shares, as it stands at the end; the rest are pages of libraries and of
    the dataset, which all workers map.
    """
    import torch

    after_import, own_after_import = resident_megabytes(), resident_megabytes("RssAnon")

    from mri_aug.data.imageset import ImageSet
    from mri_aug.models.training import TrainConfig
    from mri_aug.study.conditions import Condition
    from mri_aug.study.simulation import simulate

    image_set = ImageSet(
        images=torch.from_numpy(images), labels=torch.from_numpy(labels), subjects=torch.from_numpy(subjects),
        source_ids=torch.arange(len(images)),
    )  # fmt: skip
    simulate(Condition(real_frac=0.3), image_set, simulation=number, seed=0, config=TrainConfig(epochs=1))
    peak, now = resident_megabytes("VmHWM"), resident_megabytes()
    if peak is None:
        return {"after_import_mb": None, "beyond_import_mb": None, "end_mb": None, "own_mb": None}
    own = resident_megabytes("RssAnon") - own_after_import
    return {"after_import_mb": after_import, "beyond_import_mb": peak - after_import, "end_mb": now, "own_mb": own}
