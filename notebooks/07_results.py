# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-results)=
# # Results
#
# When real images are scarce, do synthetic ones train a better classifier than the real ones alone, than copies of
# them, than longer training, and than traditional augmentation? Every number on this page was computed by the code in it.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
n_subjects: int = 48  # people in the study; 0 is everyone
real_frac: float = 0.3  # X: share of the training images that is real, in (0, 1)
generator: str = "morph"  # makes the synthetic images; a name of mri_aug.generators
n_simulations: int = 5  # repetitions of every condition
epochs: int = 5  # passes over the training images
seed: int = 0

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from mri_aug import paths, plots
from mri_aug.conditions import POLICIES, policy_arms, thesis_arms
from mri_aug.dataset import load_images
from mri_aug.report import glue_values, numbered_table
from mri_aug.results import compare, interval_text, load_deposit, sentence, subject_interval, summarise, verdict
from mri_aug.store import Store
from mri_aug.study import run_study
from mri_aug.style import PAGE_WIDTH, use_book_style
from mri_aug.training import TrainConfig

use_book_style()
conditions = [
    *thesis_arms(real_frac, generator=generator),
    *thesis_arms(real_frac, generator=generator, protocol="subject"),
    *policy_arms(real_frac, POLICIES),
]
image_set = load_images(dataset, n_subjects=n_subjects or None, seed=seed)

# %% [markdown]
# The whole study is one call. Simulations that are in the store already are read, the others are run now, on all cores.

# %%
rows = run_study(
    conditions,
    image_set,
    n_simulations=n_simulations,
    seed=seed,
    config=TrainConfig(epochs=epochs),
    store=Store(paths.artifacts("store.sqlite")),
)

# %% tags=["hide-input"]
real, full, mixed, duplicate, longer = [arm.label for arm in thesis_arms(real_frac, generator=generator)]
by_protocol = {protocol: part for protocol, part in rows.groupby("protocol")}
image_rows, subject_rows = by_protocol["image"], by_protocol["subject"]
x, y = f"{100 * real_frac:.4g} %", f"{100 * (1 - real_frac):.4g} %"
words = {
    real: f"{x} real",
    full: "all real",
    mixed: f"{x} real + {y} synthetic",
    duplicate: f"{x} real + {y} copies",
    longer: f"{x} real, as many steps as all",
}
arms = list(words)
draft = {full: 0.176023, **({real: 0.219863, mixed: 0.174202} if real_frac == 0.3 else {})}

# %% tags=["remove-cell"]
name = "phantoms" if dataset == "phantom" else dataset.rstrip("/").split("/")[-1]
n_people = len(image_set.subjects.unique())
first = image_rows[image_rows["condition"] == full].iloc[0]
glue_values(
    dataset_name=name,
    study_people=n_people,
    n_simulations=n_simulations,
    n_conditions=len(conditions),
    n_rows=len(rows),
    study_epochs=epochs,
    study_train=int(first["n_train"]),
    study_test=int(first["n_test"]),
    core_hours=float(rows["seconds"].sum() / 3600),
    real_frac_percent=f"{100 * real_frac:.4g}",
    synth_frac_percent=f"{100 * (1 - real_frac):.4g}",
    too_few="" if n_simulations >= 20 else f"With {n_simulations} simulations per condition, intervals are wide, and "
    "what is undecided here may be decided by more: the profile called thesis runs 100, as the draft did.",
)

# %% [markdown]
# This copy of the book ran {glue:text}`n_conditions:d` conditions with {glue:text}`n_simulations:d` simulations each on
# {glue:text}`dataset_name:s` of {glue:text}`study_people:d` people: at full size {glue:text}`study_train:d` training and
# {glue:text}`study_test:d` test images, {glue:text}`study_epochs:d` epochs, {glue:text}`core_hours:.2f` hours of one core in all.
# {glue:text}`too_few:s`
#
# ## CNN Results
#
# The draft reports one comparison with figures: the convolutional network on 30 % of the real images,
# on all of them, and on 30 % filled up to full size with synthetic ones, at equal epochs and under the
# image protocol. {numref}`fig-by-simulation` repeats it with {glue:text}`real_frac_percent:s` % of the images of this run.

# %% mystnb={"figure": {"caption": "Test cross-entropy of every simulation (image protocol, equal epochs), the medians as lines and their 95 % intervals as bands. Points of one simulation share their split, their sample and their initial weights.", "name": "fig-by-simulation"}, "image": {"alt": "Test cross-entropy of every simulation (image protocol, equal epochs), and the medians as lines"}} tags=["hide-input"]
three = [real, full, mixed]
summary = summarise(image_rows, "test_cross_entropy")
_ = plots.plot_cross_entropy_by_simulation(image_rows, summary=summary, conditions=three, labels=words)

# %% tags=["hide-input"]
metric = "test_cross_entropy"
summaries = {protocol: summarise(part, metric).set_index("condition") for protocol, part in by_protocol.items()}
table = pd.DataFrame({"training set": [words[arm] for arm in arms]})
table["draft"] = [f"{draft[arm]:.3f}" if arm in draft else None for arm in arms]
for protocol, summary in summaries.items():
    shown = [summary.loc[arm] for arm in arms]
    table[f"{protocol} protocol"] = [f"{row['median']:.3f} {interval_text(row['low'], row['high'])}" for row in shown]
numbered_table(
    table,
    f"Median test cross-entropy over {n_simulations} simulations with its 95 % bootstrap interval, beside the draft's medians "
    "of 100 simulations (validation cross-entropy on the thesis's dataset, image protocol).",
    "tab-cross-entropy",
)

# %% tags=["remove-cell"]
comparison = {
    protocol: compare(part, metric, baseline=real, primary=mixed).set_index("condition")
    for protocol, part in by_protocol.items()
}
against_copies = compare(image_rows[image_rows["condition"].isin(arms)], metric, baseline=duplicate).set_index("condition")
against_longer = compare(image_rows[image_rows["condition"].isin(arms)], metric, baseline=longer).set_index("condition")
medians = summaries["image"]["median"]
filled, alone = f"filling {x} real images up with {y} synthetic ones", f"the {x} real images alone"
headline = sentence(comparison["image"].loc[mixed], condition=filled, baseline=alone)
copies = sentence(against_copies.loc[mixed], condition=filled, baseline="filling up with copies of the real ones")
steps = sentence(against_longer.loc[mixed], condition=filled, baseline=f"{alone} for as many steps")
people = sentence(comparison["subject"].loc[mixed], condition=filled, baseline=alone)
whole = sentence(comparison["image"].loc[full], condition="training on all real images", baseline=alone)
capitals = {name: text[0].upper() + text[1:] for name, text in {
    "sentence_headline": headline, "sentence_duplicate": copies, "sentence_steps": steps,
    "sentence_subject": people, "sentence_full": whole}.items()}
glue_values(ce_full_subject=summaries["subject"]["median"][full])
glue_values(**capitals, ce_real=medians[real], ce_full=medians[full], ce_mix=medians[mixed], ce_duplicate=medians[duplicate])

# %% [markdown]
# At equal epochs and under the image protocol: {glue:text}`sentence_full:s` {glue:text}`sentence_headline:s`
# {numref}`tab-cross-entropy` puts these medians beside the draft's and beside those of the controls. The draft's figures come from
# other images, another generator and settings that it does not state, so it is the *order* of the arms that can be compared, not the
# third decimal.
#
# ## Traditional policies
#
# The draft found that its networks did better with synthetic images than with traditional augmentation of the same real sample (its figure 7.2). A policy adds
# no steps, so {numref}`fig-policies-compared` shows each policy twice: for the epochs of the sample, as in the draft, and for as many steps as
# the mixed set.

# %% mystnb={"figure": {"caption": "Augmentation policies on the real sample, at its epochs and at the full set's steps (image protocol): every simulation, median and 95 % interval.", "name": "fig-policies-compared"}, "image": {"alt": "Augmentation policies on the real sample, at its epochs and at the full set's steps (image protocol)"}} tags=["hide-input"]
policies = [arm.label for arm in policy_arms(real_frac, POLICIES)]
order = [real, *policies[: len(POLICIES)], longer, *policies[len(POLICIES) :], duplicate, mixed]
_ = plots.plot_simulations(image_rows, metric, summarise(image_rows, metric), order=order)

# %% tags=["hide-input"]
contrast = compare(image_rows[image_rows["condition"].isin([*policies, mixed])], metric, baseline=mixed)
contrast["interval"] = [interval_text(row.percent_low, row.percent_high, "+.1f") for row in contrast.itertuples()]
shown = contrast[["condition", "median", "percent", "interval", "probability", "p_holm"]].rename(
    columns={"median": "median loss", "percent": "difference, %", "probability": "P(policy better)", "p_holm": "p (Holm)"}
)
caption = f"Policies on {x} of the real images against the mixed set: paired difference in test cross-entropy with its 95 % interval."
numbered_table(shown, caption, "tab-policies-compared", formats={"difference, %": "+.1f", "P(policy better)": ".2f"})

# %% tags=["remove-cell"]
fall = contrast.apply(verdict, axis=1).value_counts()
glue_values(
    sentence_policies=f"Of the {len(contrast)} combinations of a policy and a number of steps, {fall.get('better', 0)} reach a lower loss than "
    f"the mixed set, {fall.get('worse', 0)} a higher one, and {fall.get('undecided', 0)} cannot be told apart from it."
)

# %% [markdown]
# {glue:text}`sentence_policies:s`

# %% [markdown]
# ## What the controls say
#
# A mixed set is larger than its real sample and trains for more steps. Of the two controls of {numref}`Chapter %s <ch-methodology>`, one
# replaces every synthetic image by a copy of a real one, the other trains on the real sample alone for as many steps.
# {numref}`fig-controls` compares all arms with the real sample at its own epochs.

# %% mystnb={"figure": {"caption": "Test cross-entropy of all arms under the image protocol: every simulation, median and 95 % interval; crosses are the draft's medians.", "name": "fig-arms"}, "image": {"alt": "Test cross-entropy of all arms under the image protocol"}} tags=["hide-input"]
_ = plots.plot_simulations(image_rows, metric, summarise(image_rows, metric), order=arms, labels=words, draft=draft)

# %% mystnb={"figure": {"caption": "Paired difference in test cross-entropy against the real sample alone (image protocol): median and 95 % interval, and the share of simulations in which the arm is the better one.", "name": "fig-controls"}, "image": {"alt": "Paired difference in test cross-entropy against the real sample alone (image protocol)"}} tags=["hide-input"]
_ = plots.plot_paired(comparison["image"].loc[arms[1:]].reset_index(), labels=words)

# %% [markdown]
# Against copies: {glue:text}`sentence_duplicate:s`
#
# Against longer training: {glue:text}`sentence_steps:s`
#
# {glue:text}`control_verdict:s`

# %% tags=["remove-cell"]
gains = {
    "better": "so the variations carry something that neither more images nor more steps explain",
    "worse": "so what the mixed set gains over the small sample is due to count and steps, and the variations cost some of it",
    "undecided": "so whatever the mixed set gains over the small sample cannot be credited to the variations themselves",
}
no_gain = "and the mixed set as a whole shows no gain over the small sample"
found = verdict(against_copies.loc[mixed])
reading = gains[found] if verdict(comparison["image"].loc[mixed]) == "better" else no_gain
stated = {"better": "lower than", "worse": "higher than", "undecided": "not distinguishable from"}[found]
glue_values(control_verdict=f"In short, the loss with variations is {stated} the loss with copies, {reading}.")

# %% [markdown]
# ## People who were never seen
#
# Under the image protocol the network is tested on people whom it has trained on. Under the subject protocol it is not, and the median loss of the network trained on
# all real images is {glue:text}`ce_full_subject:.3f` instead of {glue:text}`ce_full:.3f`. {numref}`fig-subject` shows all arms.
# {glue:text}`sentence_subject:s`

# %% mystnb={"figure": {"caption": "The same arms under the subject protocol, where no person is in two parts: test cross-entropy of every simulation, median and 95 % interval.", "name": "fig-subject"}, "image": {"alt": "The same arms under the subject protocol, where no person is in two parts"}} tags=["hide-input"]
_ = plots.plot_simulations(subject_rows, metric, summarise(subject_rows, metric), order=arms, labels=words)

# %% tags=["hide-input"]
over_people = pd.concat(
    [subject_interval(subject_rows, measure).assign(measure=measure) for measure in ("cross_entropy", "accuracy", "subject_accuracy")]
)
over_people["value"] = [f"{row.value:.3f} {interval_text(row.low, row.high)}" for row in over_people.itertuples()]
wide = over_people.pivot(index="condition", columns="measure", values="value").loc[arms].reset_index()
wide["condition"] = wide["condition"].map(words)
wide.columns = ["training set", "accuracy", "cross-entropy", "accuracy per person"]
caption = "Subject protocol, with 95 % intervals that resample people within their class, then simulations."
numbered_table(wide, caption, "tab-subject")

# %% [markdown]
# The intervals of {numref}`tab-subject` answer a harder question than those above: how much would the figure change with *other people*? Slices of one person
# rise and fall together, so the number of people, not of images, sets their width.
#
# ## Other measures
#
# Cross-entropy punishes confidence in the wrong class without limit, and a network may be more often right and yet have the higher loss.
# {numref}`tab-measures` holds the other measures.

# %% tags=["hide-input"]
measures = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro F1": "macro_f1", "kappa": "kappa", "Brier": "brier", "ECE": "ece"}
table = rows[rows["condition"].isin(arms)].groupby(["protocol", "condition"])[[f"test_{column}" for column in measures.values()]].median()
table = table.loc[[(protocol, arm) for protocol in by_protocol for arm in arms]].reset_index()
table["condition"] = table["condition"].map(words)
table.columns = ["protocol", "training set", *measures]
caption = f"Medians over {n_simulations} simulations of the measures per image on the test part."
numbered_table(table, caption, "tab-measures")

# %% [markdown]
# ## On the thesis's images
#
# So that every copy of this book can be read beside the thesis, the table of one study on the thesis's own dataset is part of the repository,
# with a manifest of what made it. {glue:text}`deposit_words:s`

# %% tags=["hide-input"]
deposit, made = load_deposit("alzheimer_mri")
kept = {protocol: part for protocol, part in deposit.groupby("protocol")}
labels = [arm.label for arm in thesis_arms(made["real_frac"])]
kept_summaries = {protocol: summarise(part, metric).set_index("condition") for protocol, part in kept.items()}
names = ["30 % real", "all real", "30 % real + 70 % synthetic", "30 % real + 70 % copies", "30 % real, as many steps as all"]
table = pd.DataFrame({"training set": names, "draft": ["0.220", "0.176", "0.174", None, None]})
for protocol, summary in kept_summaries.items():
    picked = [summary.loc[label] for label in labels]
    table[f"{protocol} protocol"] = [f"{row['median']:.3f} {interval_text(row['low'], row['high'])}" for row in picked]
    accuracy = summarise(kept[protocol], "test_accuracy").set_index("condition")["median"]
    table[f"{protocol}, accuracy"] = [100 * accuracy[label] for label in labels]
caption = f"The thesis's dataset: median test cross-entropy with its 95 % interval and median accuracy in percent, {made['n_simulations']} simulations, {made['epochs']} epochs."
formats = {f"{protocol}, accuracy": ".1f" for protocol in kept}
numbered_table(table, caption, "tab-deposit", formats=formats)

# %% tags=["remove-cell"]
kept_real, _, kept_mixed, kept_copies, kept_longer = labels
image_arms = kept["image"][kept["image"]["condition"].isin(labels)]
contrasts = {
    "alone": compare(image_arms, metric, baseline=kept_real, primary=kept_mixed),
    "copies": compare(image_arms, metric, baseline=kept_copies),
    "longer": compare(image_arms, metric, baseline=kept_longer),
    "people": compare(kept["subject"], metric, baseline=kept_real, primary=kept_mixed),
}
mixed_rows = {name: contrast.set_index("condition").loc[kept_mixed] for name, contrast in contrasts.items()}
said = {
    "alone": sentence(mixed_rows["alone"], condition="filling 30 % real up with variations", baseline="the 30 % alone"),
    "copies": sentence(mixed_rows["copies"], condition="filling up with variations", baseline="filling up with copies"),
    "longer": sentence(mixed_rows["longer"], condition="filling up with variations", baseline="the 30 % for as many steps"),
    "people": sentence(mixed_rows["people"], condition="filling up with variations", baseline="the 30 % alone"),
}

# %% tags=["remove-cell"]
glue_values(
    deposit_words=f"It was computed on {made['n_images']:,} images ({made['dataset']}) with {made['n_simulations']} simulations of each condition and "
    f"{made['epochs']} epochs, in {made['core_hours']:.1f} hours of one core ({made['machine']['processor']}, {made['machine']['cores']} cores, {made['date']}).",
    **{f"deposit_{name}": text[0].upper() + text[1:] for name, text in said.items()},
)

# %% [markdown]
# Under the image protocol: {glue:text}`deposit_alone:s` {glue:text}`deposit_copies:s` {glue:text}`deposit_longer:s` On people never seen:
# {glue:text}`deposit_people:s`
#
# {numref}`tab-deposit` holds the medians beside the draft's, whose synthetic images came from DALL·E 2.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The thesis's dataset, both protocols: paired difference in test cross-entropy of every arm from the 30 % of real images alone (upper panel: image protocol; lower panel: subject protocol).", "name": "fig-deposit"}, "image": {"alt": "Forest plots of the paired differences on the thesis's dataset under both protocols"}}
figure, axes = plt.subplots(2, 1, figsize=(PAGE_WIDTH, 6))
for part, ax in zip(kept.values(), axes, strict=True):
    against = compare(part[part["condition"].isin(labels)], metric, baseline=kept_real)
    _ = plots.plot_paired(against, order=labels[1:], labels=dict(zip(labels, names, strict=True)), ax=ax)

# %% [markdown]
# ## The answer
#
# Four questions stand between "the mixed set has a lower loss" and "synthetic images help". {numref}`tab-answer` answers each from the intervals
# above: *yes* or *no* where the interval of the paired difference leaves out zero, *undecided* where it does not or where there are fewer than five
# simulations.

# %% tags=["hide-input"]
questions = {
    "Is it better than the real sample alone?": comparison["image"].loc[mixed],
    "Is it better than copies in place of variations?": against_copies.loc[mixed],
    "Is it better than the real sample trained for as long?": against_longer.loc[mixed],
    "Is it better than the real sample alone, on people never seen?": comparison["subject"].loc[mixed],
}
answers = {"better": "yes", "worse": "no, worse", "undecided": "undecided"}
table = pd.DataFrame(
    [
        {"the mixed set": question, "answer": answers[verdict(row)], "difference, %": row["percent"],
         "interval": interval_text(row["percent_low"], row["percent_high"], "+.1f"), "P(better)": row["probability"]}
        for question, row in questions.items()
    ]
)
caption = f"The mixed set of {x} real and {y} synthetic images: paired difference in test cross-entropy, with its 95 % interval, over {n_simulations} simulations."
numbered_table(table, caption, "tab-answer", formats={"difference, %": "+.1f", "P(better)": ".2f"})

# %% tags=["hide-input"]
assert len(rows) == len(conditions) * n_simulations
assert rows.groupby("simulation")["seed_split"].nunique().eq(1).all()
assert rows.loc[rows["condition"] == mixed, "n_train"].eq(rows.loc[rows["condition"] == full, "n_train"].to_numpy()).all()
