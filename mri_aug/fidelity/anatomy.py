"""Real, phantom and simulated slices side by side, in numbers: dark fluid, contrast, brain area, people that are found.

Describes images; does not judge whether they are useful (:mod:`mri_aug.fidelity.table` compares with real ones).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import recover_subjects
from mri_aug.models.references import TISSUE_FEATURES, tissue_features


def anatomy_table(image_set: ImageSet) -> pd.DataFrame:
    """Return how the tissue of an image set looks, grade by grade.

    Parameters
    ----------
    image_set : ImageSet
        With known subjects.

    Returns
    -------
    DataFrame
        One row per grade and feature of :func:`mri_aug.models.references.tissue_features`; columns ``grade``,
        ``n_people``, ``n_images``, ``feature``, and over the people's means ``mean``, ``sd`` and the percentiles
        ``p10``, ``p50`` and ``p90``.
    """
    table = pd.DataFrame(tissue_features(image_set.images), columns=list(TISSUE_FEATURES))
    table["grade"] = np.array(image_set.class_names)[image_set.labels.numpy()]
    table["subject"] = image_set.subjects.numpy()
    rows = []
    for name in image_set.class_names:
        members = table[table["grade"] == name]
        if members.empty:
            continue
        people = members.groupby("subject")[list(TISSUE_FEATURES)].mean()
        for feature, values in people.items():
            low, middle, high = np.percentile(values, (10, 50, 90))
            rows.append({
                "grade": name, "n_people": len(people), "n_images": len(members), "feature": feature,
                "mean": values.mean(), "sd": values.std(ddof=0), "p10": low, "p50": middle, "p90": high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def people_plateau(image_set: ImageSet) -> dict[str, float]:
    """Return how clearly people can be told apart by pixel correlation, as the dataset's were found.

    Returns
    -------
    dict
        ``n_found`` people (0 where the search finds none), ``n_people`` by the set's own subjects, and the plateau
        ``low`` and ``high`` of correlations that give the people found (NaN where none); see
        :func:`mri_aug.data.people.recover_subjects`.
    """
    audit = recover_subjects(image_set.images)
    low, high = audit.plateau
    return {
        "n_found": float(audit.n_subjects),
        "n_people": float(len(image_set.subjects.unique())),
        "low": low,
        "high": high,
    }
