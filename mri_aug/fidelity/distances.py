"""The kernel inception distance between two sets of images of different people, from their features.

Which network the features come from, and what a distance means, is said elsewhere.
"""

from __future__ import annotations

import numpy as np

from mri_aug.fidelity.resampling import Estimate, People, interval

_MIN_PEOPLE = 3  # on each side, for an interval


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``(x . y / d + 1) ** 3`` for features (n, d) and (m, d): shape (n, m) (Binkowski et al. 2018, eq. 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(
    x: np.ndarray,
    y: np.ndarray,
    x_people: People,
    y_people: People,
    *,
    x_rows: np.ndarray | None = None,
    y_rows: np.ndarray | None = None,
    same_people: bool = False,
    confidence_level: float = 0.95,
) -> Estimate:
    """Return the kernel inception distance (KID) of two sets of features, with its interval over people.

    The squared maximum mean discrepancy is estimated without bias (Gretton et al. 2012, eq. 3; Binkowski et al.
    2018), with one change: within a set, only pairs of *different people* are averaged. Slices of one person are
    alike, and counting such pairs would set any two groups of people apart. With one image per person it is the
    usual estimate. Two samples of the same population have distance 0 in expectation; single estimates can be
    negative. In the bootstrap, too, nobody is ever paired with a copy of oneself.

    Parameters
    ----------
    x, y : ndarray of float, shapes (n, d) and (m, d)
    x_people, y_people : People
        With equally many resamples.
    x_rows, y_rows : ndarray of bool, shapes (n,) and (m,), optional
        The images to compare; all by default.
    same_people : bool
        Both sets show the same people, as variations and their sources do: pairs of one person are then left out
        across the sets, too, and people are resampled in both alike. What sets people apart cancels out.
    confidence_level : float in (0, 1)

    Returns
    -------
    Estimate
        NaN where a side has fewer than two people; without an interval where one has two, of whom every resample
        that is defined draws both.
    """
    x_rows = np.ones(len(x), dtype=bool) if x_rows is None else x_rows
    y_rows = np.ones(len(y), dtype=bool) if y_rows is None else y_rows
    first, second = (x[x_rows], x_people, x_people.person[x_rows]), (y[y_rows], y_people, y_people.person[y_rows])
    pairs = ((first, first, True), (second, second, True), (first, second, same_people))
    blocks = [_block_sums(*pair) for pair in pairs]
    value = _discrepancy(blocks, np.ones((1, x_people.n_people)), np.ones((1, y_people.n_people)))[0]
    if min(x_people.count(x_rows), y_people.count(y_rows)) < _MIN_PEOPLE:
        return Estimate(float(value))
    resampled = _discrepancy(blocks, x_people.draws, y_people.draws)
    return interval(value, resampled, confidence_level=confidence_level)


def _block_sums(first, second, same_people: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each pair of people, the sum of the kernel over their pairs of images, and the number of pairs."""
    (x, x_people, x_person), (y, y_people, y_person) = first, second
    rows = np.eye(x_people.n_people)[:, x_person]
    columns = np.eye(y_people.n_people)[:, y_person]
    sums = rows @ polynomial_kernel(x, y) @ columns.T
    counts = np.outer(rows.sum(1), columns.sum(1))
    if same_people:
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(counts, 0)
    return sums, counts


def _discrepancy(blocks, x_draws: np.ndarray, y_draws: np.ndarray) -> np.ndarray:
    pairs = ((x_draws, x_draws), (y_draws, y_draws), (x_draws, y_draws))
    within_x, within_y, across = (
        _ratio(*[np.einsum("rp,pq,rq->r", left, block, right, optimize=True) for block in both])
        for both, (left, right) in zip(blocks, pairs, strict=True)
    )
    return within_x + within_y - 2 * across


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
