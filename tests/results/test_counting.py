"""Counts of verdicts, and the sentences made of them."""

from __future__ import annotations

import pandas as pd
import pytest

from mri_aug.results.tables import agreement, tally


def comparisons(verdicts, *, n=12, metric="test_cross_entropy", protocol="image"):
    """Return rows of `compare`, one for each verdict, by name."""
    lower = metric == "test_cross_entropy"
    value = {"better": -1 if lower else 1, "worse": 1 if lower else -1, "undecided": 0}
    return pd.DataFrame(
        {
            "condition": name, "metric": metric, "lower_is_better": lower, "n": n, "protocol": protocol,
            "outcome": found, "value": 10.0 * value[found] + 0.1 * place,
        }
        for place, (name, found) in enumerate(verdicts.items())
    )  # fmt: skip


FOUND = {"flip": "better", "crop": "worse", "blur": "undecided", "noise": "worse"}


def test_tally_counts_and_names():
    assert tally(comparisons(FOUND), things="policies", baseline="none", names={"noise": "static"}) == (
        "Of 4 policies, each compared with none in 12 paired simulations, 1 lowers the test cross-entropy (flip), "
        "2 raise it (crop; static), and 1 is undecided."
    )


def test_tally_turns_with_the_metric():
    text = tally(comparisons({"flip": "better"}, metric="test_accuracy"), things="policies", baseline="none")
    assert "1 raises the test accuracy (flip), none lower it, and none are undecided" in text


@pytest.mark.parametrize(("n", "words"), [(1, "One paired simulation of"), (4, "4 paired simulations of")])
def test_few_simulations_decide_nothing(n, words):
    text = tally(comparisons(FOUND, n=n), things="policies", baseline="none")
    assert text.startswith(words) and text.endswith("nothing.") and "flip" not in text


def test_nothing_to_count_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        tally(comparisons(FOUND).head(0), things="policies", baseline="none")


def both(image, subject):
    return pd.concat([comparisons(image), comparisons(subject, protocol="subject")], ignore_index=True)


def test_agreement_follows_what_was_gained():
    image = {"a": "better", "b": "better", "c": "better", "d": "undecided", "only": "better"}
    text = agreement(both(image, {"d": "better", "c": "undecided", "b": "worse", "a": "better"}), things="policies")
    assert text.startswith(
        "3 of 4 policies are better under the image protocol; of these, under the subject protocol, 1 is better too, "
        "1 is worse, and 1 is undecided. 1 is better under the subject protocol alone. "
    )


def test_agreement_without_a_gain_claims_none():
    text = agreement(both({"a": "worse", "b": "undecided"}, {"a": "worse", "b": "undecided"}), things="policies")
    assert text == (
        "None of 2 policies are better under the image protocol. None are better under the subject protocol alone."
    )


def test_rank_correlation_is_told_only_where_there_is_one():
    same = {"a": "better", "b": "undecided", "c": "worse"}
    assert "is 1.00," in agreement(both(same, same), things="policies")
    opposite = {"a": "worse", "b": "undecided", "c": "better"}
    assert "is \N{MINUS SIGN}1.00," in agreement(both(same, opposite), things="policies")
    flat = both(same, same).assign(value=1.0)
    assert "rank correlation" not in agreement(flat, things="policies")


def test_agreement_needs_both_protocols():
    with pytest.raises(ValueError, match="both of the protocols"):
        agreement(comparisons(FOUND), things="policies")
