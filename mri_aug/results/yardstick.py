"""What an answer scores that never looks at an image: the line that a network has to pass before arms are compared.

Reads a study's table; trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mri_aug.results.table import decode_columns, require_columns


def without_image(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the best answer scores that is the same for every test image.

    It names the share of each class in the test part, which nobody could know better; its cross-entropy is the entropy
    of those shares, and its accuracy the share of the most frequent class.

    Parameters
    ----------
    rows : DataFrame
        One row per simulation, with ``protocol``, ``simulation`` and ``by_subject``; arms of a simulation share their
        test part.

    Returns
    -------
    DataFrame
        A row per protocol, which is the index: ``cross_entropy`` in nats and ``accuracy``, medians over simulations.

    Raises
    ------
    ValueError
        If a column is missing or ``by_subject`` cannot be read.
    """
    require_columns(rows, ("protocol", "simulation", "by_subject"))
    records = []
    for row in rows.drop_duplicates(["protocol", "simulation"]).itertuples():
        people = decode_columns(row.by_subject)
        shares = np.bincount(people["label"], weights=people["n_images"])
        shares = shares[shares > 0] / shares.sum()
        entropy = float(-(shares * np.log(shares)).sum())
        records.append({"protocol": row.protocol, "cross_entropy": entropy, "accuracy": float(shares.max())})
    return pd.DataFrame(records).groupby("protocol")[["cross_entropy", "accuracy"]].median()


def yardstick_sentences(rows: pd.DataFrame, arms: Sequence[str], *, names: Mapping[str, str]) -> str:
    """Return, for each protocol, a sentence on which arms do better than an answer without any image.

    Parameters
    ----------
    rows : DataFrame
        As for :func:`without_image`, with ``condition``, ``test_cross_entropy`` and ``test_accuracy``.
    arms : sequence of str
        Conditions to count, by their medians.
    names : mapping of str to str
        What each protocol's test part is called, in the order to speak of them.
    """
    line = without_image(rows)
    medians = rows[rows["condition"].isin(arms)].groupby(["protocol", "condition"])
    medians = medians[["test_cross_entropy", "test_accuracy"]].median()
    said = []
    for protocol, name in names.items():
        if protocol not in line.index:
            continue
        loss, accuracy = line.loc[protocol, ["cross_entropy", "accuracy"]]
        found = medians.loc[protocol]
        n_loss = int((found["test_cross_entropy"] < loss).sum())
        n_accuracy = int((found["test_accuracy"] > accuracy).sum())
        said.append(
            f"{name} the shares of the classes, named without a look at the image, have a cross-entropy of {loss:.3f}, "
            f"and the most frequent class is right for {100 * accuracy:.1f} %: of {len(found)} training sets, "
            f"{n_loss or 'none'} {'has' if n_loss == 1 else 'have'} a median loss below the former, and "
            f"{n_accuracy or 'none'} a median accuracy above the latter."
        )
    return " ".join(said)
