"""How often verdicts are wrong, over a thousand studies that were drawn so that the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from mri_aug.results.inference import crossed_interval, mean_interval, outcome

N_STUDIES = 1000
LABELS = np.repeat([0, 1, 2, 3], [100, 70, 28, 2])
MARGIN = 0.05
# three standard errors above 5 % (2.5 %) for a rate of a thousand studies
AT_MOST_5, AT_MOST_2_5 = 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_STUDIES), 0.025 + 3 * np.sqrt(0.025 * 0.975 / N_STUDIES)


def people_study(rng, *, n_repeats, of_people, of_networks, truth=0.0, of_each=0.3):
    """Return paired differences in nats, (people, simulations): heavy tails, five folds a repeat, everybody once.

    A difference of a person (``of_people``: how much better one arm suits them), of a network (all whom it tests) and
    of a person with a network. Magnitudes are those of FACTS: intervals of about 0.03 either way over 200 people.
    """
    n = len(LABELS)

    def heavy(*shape):
        return rng.standard_t(4, shape) / np.sqrt(2)

    person = of_people * heavy(n)
    values = np.full((n, 5 * n_repeats), np.nan)
    for repeat in range(n_repeats):
        fold = np.empty(n, dtype=int)
        fold[rng.permutation(n)] = np.arange(n) % 5
        networks = of_networks * rng.normal(size=5)
        values[np.arange(n), 5 * repeat + fold] = truth + person + networks[fold] + of_each * heavy(n)
    return values


def rates(n_repeats, *, seed=0, n_studies=N_STUDIES, **variances):
    """Return how often each word was in the outcome."""
    rng, repeats = np.random.default_rng(seed), np.repeat(np.arange(n_repeats), 5)
    found = []
    for _ in range(n_studies):
        values = people_study(rng, n_repeats=n_repeats, **variances)
        found.append(outcome(crossed_interval(values, LABELS, repeats)[1], lower_is_better=True, margin=MARGIN))
    return {word: np.mean([word in text for text in found]) for word in ("better", "worse", "equivalent", "undecided")}


@pytest.mark.parametrize(
    "variances",
    [
        {"of_people": 0.0, "of_networks": 0.05},  # the same arm with another seed: nothing of a person is shared
        {"of_people": 0.0, "of_networks": 0.3},  # the same, and networks differ much in how sure they are
        {"of_people": 0.2, "of_networks": 0.05},  # another arm, as good on average over all the people there are
    ],
)
def test_twenty_repeats_of_the_same_arm_are_seldom_called_better_or_worse(variances):
    found = rates(20, **variances)
    assert found["better"] + found["worse"] <= 0.05, found


@pytest.mark.parametrize("n_repeats", [2, 5])
@pytest.mark.parametrize("variances", [{"of_people": 0.0, "of_networks": 0.2}, {"of_people": 0.2, "of_networks": 0.05}])
def test_few_repeats_are_no_excuse(n_repeats, variances):
    found = rates(n_repeats, **variances)
    assert found["better"] + found["worse"] <= AT_MOST_5, found


def test_equivalent_is_what_its_margin_says():
    variances = {"of_people": 0.1, "of_networks": 0.05}
    assert rates(20, truth=MARGIN, **variances)["equivalent"] <= AT_MOST_2_5
    few = {"n_studies": 200, **variances}
    same = rates(20, **few)
    assert same["equivalent"] >= 0.95 and same["undecided"] <= 0.05
    assert rates(20, truth=-2 * MARGIN, **few)["better"] >= 0.99


@pytest.mark.parametrize("n", [10, 20, 100])
@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_simulations_of_the_same_arm_are_seldom_called_better_or_worse(n, draw):
    rng, margin = np.random.default_rng(1), np.log(1.1)
    first, second = (
        rng.normal(size=(2, N_STUDIES, n)) if draw == "normal" else np.log(rng.gamma(2, size=(2, N_STUDIES, n)))
    )
    spread = 0.12  # of a log loss from seed to seed
    found = [outcome(mean_interval(spread * values), lower_is_better=True, margin=margin) for values in first - second]
    decided = np.mean(["better" in text or "worse" in text for text in found])
    assert decided <= AT_MOST_5
    at_margin = [
        outcome(mean_interval(margin + spread * values), lower_is_better=True, margin=margin)
        for values in first - second
    ]
    assert np.mean(["equivalent" in text for text in at_margin]) <= AT_MOST_2_5
