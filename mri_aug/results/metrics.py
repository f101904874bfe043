"""Score predicted probabilities against ordinal labels, per image and per subject.

Works on arrays only: it never sees a network, an image or a file, and does not say how certain a score is.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

UNKNOWN_SUBJECT = -1
BY_SUBJECT_COLUMNS = (
    "subject", "label", "n_images", "cross_entropy", "accuracy", "predicted", "subject_cross_entropy",
)  # fmt: skip
REFERENCES = ("shares", "tissue", "pca")  # architectures that every network must beat
_N_BINS = 15  # of the calibration error (Guo et al. 2017)
_ROW_SUM_TOLERANCE = 1e-3  # a softmax in bfloat16 is off by about this much


def evaluate(probabilities: ArrayLike, labels: ArrayLike, subjects: ArrayLike) -> dict[str, float]:
    """Score class probabilities per image and per subject.

    Parameters
    ----------
    probabilities : array of float, shape (n, n_classes)
        Rows in [0, 1] that sum to 1; classes in ordinal order.
    labels : array of int, shape (n,)
        In 0 .. n_classes - 1.
    subjects : array of int, shape (n,)
        The person each image shows; -1 where unknown.

    Returns
    -------
    dict of str to float
        ``cross_entropy`` (nats), ``accuracy``, ``balanced_accuracy`` (mean recall of the classes present),
        ``macro_f1``, ``kappa`` (quadratic weights, Cohen 1968; NaN where only one class occurs), ``recall_0`` .. (NaN
        where the class is absent), ``brier`` (in [0, 2]: Brier 1950, eq. 2), ``ece`` (expected calibration error: Guo
        et al. 2017, eq. 3, 15 bins); then the same under ``subject_...`` for the mean probability over each subject's
        images, all NaN if any subject is unknown.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, a row does not sum to 1, a label has no column or one subject
        carries two labels.
    """
    probabilities, labels, subjects = _checked(probabilities, labels, subjects)
    scores = _scores(probabilities, labels)
    if _known(subjects):
        by_subject_scores = _scores(*subject_means(probabilities, labels, subjects)[1:3])
    else:
        by_subject_scores = dict.fromkeys(scores, float("nan"))
    return scores | {f"subject_{name}": value for name, value in by_subject_scores.items()}


def by_subject(probabilities: ArrayLike, labels: ArrayLike, subjects: ArrayLike) -> pd.DataFrame:
    """Return one row per subject, so that people are compared instead of slices; takes what :func:`evaluate` takes.

    Returns
    -------
    DataFrame
        Sorted by ``subject``, with ``label``, ``n_images``, ``cross_entropy`` (mean over the subject's images, nats),
        ``accuracy`` (share of its images that are right), ``predicted`` (most probable class by the mean probability)
        and ``subject_cross_entropy`` (of the mean probability). Without rows if any subject is unknown.
    """
    probabilities, labels, subjects = _checked(probabilities, labels, subjects)
    if not _known(subjects):
        return pd.DataFrame({name: [] for name in BY_SUBJECT_COLUMNS})
    people, means, person_labels, n_images, position = subject_means(probabilities, labels, subjects)
    right = probabilities.argmax(axis=1) == labels
    columns = (
        people,
        person_labels,
        n_images,
        np.bincount(position, weights=_log_loss(probabilities, labels)) / n_images,
        np.bincount(position, weights=right) / n_images,
        means.argmax(axis=1),
        _log_loss(means, person_labels),
    )
    return pd.DataFrame(dict(zip(BY_SUBJECT_COLUMNS, columns, strict=True)))


def encode_by_subject(table: pd.DataFrame) -> str:
    """Return :func:`by_subject`'s table as compact JSON, a list per column, floats to 5 decimals."""
    columns = {name: table[name].round(5).tolist() for name in BY_SUBJECT_COLUMNS}
    return json.dumps(columns, separators=(",", ":"), allow_nan=False)


def _scores(probabilities: NDArray, labels: NDArray) -> dict[str, float]:
    from sklearn import metrics  # imported late: a second, and nothing is scored before something is trained

    classes = np.arange(probabilities.shape[1])
    predictions = probabilities.argmax(axis=1)
    recalls = metrics.recall_score(labels, predictions, labels=classes, average=None, zero_division=np.nan)
    kappa = float("nan")  # 0 / 0 where one class only occurs
    if len(np.union1d(labels, predictions)) > 1:
        kappa = metrics.cohen_kappa_score(labels, predictions, labels=classes, weights="quadratic")
    return {
        "cross_entropy": float(metrics.log_loss(labels, probabilities, labels=classes)),
        "accuracy": float((predictions == labels).mean()),
        "balanced_accuracy": float(np.nanmean(recalls)),
        "macro_f1": float(metrics.f1_score(labels, predictions, labels=classes, average="macro", zero_division=np.nan)),
        "kappa": float(kappa),
        **{f"recall_{k}": float(recall) for k, recall in enumerate(recalls)},
        "brier": float(((probabilities - np.eye(len(classes))[labels]) ** 2).sum(axis=1).mean()),
        "ece": _calibration_error(probabilities.max(axis=1), predictions == labels),
    }


def _calibration_error(confidence: NDArray, right: NDArray) -> float:
    """Return the mean over images of the gap between their bin's accuracy and its mean confidence."""
    bins = np.clip(np.ceil(confidence * _N_BINS).astype(int) - 1, 0, _N_BINS - 1)  # open on the left
    gaps = np.bincount(bins, weights=right - confidence, minlength=_N_BINS)
    return float(np.abs(gaps).sum() / len(right))


def _log_loss(probabilities: NDArray, labels: NDArray) -> NDArray:
    """Return the cross-entropy of each row, clipped as scikit-learn's ``log_loss`` clips."""
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], np.finfo(float).eps, 1))


def subject_means(probabilities: NDArray, labels: NDArray, subjects: NDArray):
    """Return people, their mean probabilities, labels and image counts, and each image's row among them."""
    people, first, position, n_images = np.unique(subjects, return_index=True, return_inverse=True, return_counts=True)
    mixed = labels != labels[first][position]
    if mixed.any():
        raise ValueError(
            f"subject {subjects[mixed][0]} carries more than one label: "
            "a person has one; check how subjects were matched to images"
        )
    sums = np.stack([np.bincount(position, weights=column) for column in probabilities.T], axis=1)
    return people, sums / n_images[:, None], labels[first], n_images, position


def _known(subjects: NDArray) -> bool:
    return bool((subjects != UNKNOWN_SUBJECT).all())


def _checked(probabilities: ArrayLike, labels: ArrayLike, subjects: ArrayLike):
    probabilities = np.asarray(probabilities, dtype=float)
    labels, subjects = np.asarray(labels), np.asarray(subjects)
    if probabilities.ndim != 2 or probabilities.shape[0] == 0 or probabilities.shape[1] < 2:
        raise ValueError(
            f"probabilities must have shape (n, n_classes) with n >= 1 and n_classes >= 2, got {probabilities.shape}"
        )
    n, n_classes = probabilities.shape
    for name, array in (("labels", labels), ("subjects", subjects)):
        if array.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},) to match probabilities, got {array.shape}")
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {array.dtype}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {labels.min()}..{labels.max()}")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities hold NaN or infinity: the network has most likely diverged")
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > _ROW_SUM_TOLERANCE:
        raise ValueError(
            f"probabilities must be non-negative with rows that sum to 1, got a minimum of {probabilities.min():.3g} "
            f"and sums of {sums.min():.3g} to {sums.max():.3g}: apply softmax to logits first"
        )
    return probabilities / sums[:, None], labels, subjects
