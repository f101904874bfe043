"""Rows of studies that were never run: people of some difficulty, graded by networks of some quality."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from mri_aug.study.conditions import Condition

SCORES = ("last", "calibrated", "validated", "validated_calibrated")
COUNTS = (100, 70, 28, 2)  # people of each class in the thesis's dataset


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def made_up_rows(conditions, *, n_repeats=4, counts=COUNTS, quality=None, seed=0):
    """Return the rows of a study of people, five folds to a repeat.

    A condition's quality is how far its logits follow the label (0: not at all); people differ in difficulty alike in
    every condition.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    difficulty = np.random.default_rng([seed, 99]).normal(size=len(labels))
    records = []
    for place, condition in enumerate(conditions):
        strength = 1.0 if quality is None else quality[place]
        for simulation in range(5 * n_repeats):
            repeat, fold = divmod(simulation, 5)
            rng = np.random.default_rng([seed, place, simulation])
            order = np.random.default_rng([seed, repeat]).permutation(len(labels))
            people = np.sort(order[fold::5])
            truth = labels[people]
            distance = np.abs(np.subtract.outer(truth, np.arange(len(counts))))
            logits = -strength * (1 + 0.5 * difficulty[people])[:, None] * distance + 0.4 * rng.normal(
                size=distance.shape
            )
            probabilities = {
                name: softmax(scale * logits).round(4) for name, scale in zip(SCORES, (3, 1, 2, 1), strict=True)
            }
            raw = probabilities["last"]
            losses = -np.log(np.maximum(raw[np.arange(len(truth)), truth], 5e-5))
            table = {
                "subject": people, "label": truth, "n_images": np.full(len(people), 32), "cross_entropy": losses,
                "accuracy": (raw.argmax(axis=1) == truth).astype(float), "predicted": raw.argmax(axis=1),
                "subject_cross_entropy": losses, **probabilities,
            }  # fmt: skip
            row = {
                "key": f"{seed}-{place}-{simulation}", "simulation": simulation, "repeat": repeat, "fold": fold,
                "n_steps": 1000, "test_cross_entropy": losses.mean(), "test_accuracy": table["accuracy"].mean(),
            }  # fmt: skip
            lists = {name: values.tolist() for name, values in table.items()}
            records.append(condition.columns() | row | {"by_subject": json.dumps(lists, separators=(",", ":"))})
    return pd.DataFrame(records)


def person_condition(**fields):
    """Return a condition as the planned arms are."""
    return Condition(**{"protocol": "subject", "scarce": "subjects", "policy": "standard", "image_size": 64} | fields)
