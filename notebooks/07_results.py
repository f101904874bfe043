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
# This chapter reads the record: {glue:text}`n_rows:d` simulations of {glue:text}`n_conditions:d` training sets on the thesis's own 6,400 images,
# {glue:text}`core_hours:.1f` hours of one core. What is compared, and how it is decided, was fixed beforehand, with the exceptions that {numref}`sec-beforehand` names.
# The record is unfinished. It is computed in the order in which its parts matter; every table states its number of simulations *n*, parts that have not been
# reached are named as not computed, and fewer than ten simulations give a range, from the least to the greatest, and no verdict.
# A verdict on a part that still grows is an interim look, not adjusted for further ones; some have changed.
# At present the draft's comparison has {glue:text}`n_draft:d` simulations of each training set and that on held-out people {glue:text}`n_people:d`, in
# which everybody is tested {glue:text}`n_repeats:d` times.
#
# With ten simulations or more, a training set is *better* or *worse* where the 95 % interval of the difference excludes zero, *equivalent* where the interval lies
# inside the margin (10 % of a loss, 0.05 nats per person), and *undecided* otherwise. Neither intervals nor verdicts are adjusted for the number of comparisons; *p*, which
# tests for a difference and not for equivalence, is.

# %% tags=["parameters"]
dataset: str = "record"  # the committed study of the thesis's images; or, to compute one: "phantom", hub id, folder
real_frac: float = 0.3  # X: share of the training images, or people, that is real, in (0, 1)
generator: str = "morph"  # makes the synthetic images of the draft's comparison; a name of mri_aug.generators
class_names: str = ""  # the dataset's classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people in the study; 0 is everyone. This and all below is for a study that is computed
generator_options: dict = {}  # of the generator, where they are not its defaults
n_simulations: int = 3  # repetitions of the draft's comparison and of that on people
n_side_simulations: int = 1  # of the policies, controls, filters, classes and the sweep
n_network_simulations: int = 1  # of the larger networks
policies: list = ["traditional", "elastic", "autoaugment"]  # names of mri_aug.policies
sweep: list = [0.1, 0.6]  # real shares, besides real_frac and 1
people_generators: list = []  # compared on people besides the generator and duplicates
people_steps: int = 100  # optimisation steps of every training on people
architectures: list = ["vit_tiny"]  # networks trained from random weights; resnet18 takes two minutes more
pretrained: list = []  # networks started from ImageNet's weights, which are downloaded
epochs: int = 3  # passes over the training images in the draft's comparison
seed: int = 0

# %% tags=["remove-cell"]
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd

from mri_aug import provenance
from mri_aug.book import figures
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, use_book_style
from mri_aug.results.comparison import summarise
from mri_aug.results.contrasts import DRAFT, PLANNED, planned_arms, planned_contrasts
from mri_aug.results.deposit import load_deposit
from mri_aug.results.people import (
    MARGIN,
    compare_people,
    full_reference,
    person_scores,
    power_table,
    reference_conditions,
    reliability,
    summarise_people,
    whole_repeats,
)

# %% tags=["remove-cell"]
from mri_aug.results.tables import (
    arm_words,
    contrast_table,
    difference_text,
    paired_groups,
    people_table,
    protocol_table,
    recalls,
    rows_of,
    sweep_curves,
)
from mri_aug.study import conditions
from mri_aug.study.parts import DRAFT_POLICIES, chapter_parts, listed_conditions, rare_classes, record_parts

use_book_style()

# %% tags=["remove-cell"]
is_record = dataset == "record"
if is_record:
    rows, made = load_deposit("record")
    phantom_rows = rows[rows["images"] != made["images"]]  # of simulated people, in several numbers
    rows = rows[rows["images"] == made["images"]]
    classes, counts, is_ordered, known_people = made["class_names"], made["class_counts"], True, True
    policies, sweep, architectures = DRAFT_POLICIES, conditions.SWEEP, ["resnet18", "vit_tiny"]
else:
    from mri_aug.data.loading import load_images  # torch takes seconds, and reading the record does not need it

    known = {"class_names": class_names or None, "subjects": subjects or None}
    image_set = load_images(dataset, **known, n_subjects=n_subjects or None, seed=seed)
    classes, counts = image_set.class_names, list(image_set.class_counts().values())
    is_ordered = image_set.ordered or len(classes) == 2
    people_sizes = image_set.subjects.unique(return_counts=True)[1]
    known_people = bool((image_set.subjects >= 0).all())  # else nobody can be held out
parts = chapter_parts(
    real_frac, generator=generator, n_simulations=n_simulations, n_side_simulations=n_side_simulations,
    n_network_simulations=n_network_simulations, policies=policies, sweep=sweep, people_generators=people_generators,
    people_steps=people_steps, architectures=architectures, pretrained=pretrained, rare=rare_classes(counts),
    known_people=known_people, n_slices=32 if is_record else int(people_sizes.min()),
)  # fmt: skip

# %% tags=["remove-cell"]
if not is_record:
    from mri_aug.generators.bank import study_generators
    from mri_aug.models.training import TrainConfig
    from mri_aug.study.run import run_parts
    from mri_aug.study.store import Store

    given = study_generators(generator, generator_options)  # what costs money comes from the bank alone
    store, config = Store(provenance.artifacts("store.sqlite")), TrainConfig(epochs=epochs)
    rows = run_parts(parts, image_set, seed=seed, store=store, config=config, generators=given)

# %% tags=["remove-cell"]
arms_of = {part.name: part.conditions for part in parts}
diffused = conditions.thesis_arms(real_frac, generator="diffusion")[2]
arms_of["draft"] += (diffused,) if is_record else ()
words = arm_words(rows, class_names=classes)
alone, full, mixed, duplicates, longer = (arm.label for arm in conditions.thesis_arms(real_frac, generator=generator))
x = f"{100 * real_frac:.4g}\N{NO-BREAK SPACE}%"
draft = dict(zip((alone, full, mixed), DRAFT.values(), strict=True)) if real_frac == 0.3 else {full: DRAFT["all real"]}
loss, calibrated, loss_label = "test_cross_entropy", "test_calibrated_cross_entropy", "Test cross-entropy"

# %% tags=["remove-cell"]
computed = rows.drop_duplicates(["condition", "protocol"])
glue_values(n_rows=len(rows), n_conditions=len(computed), core_hours=float(rows["seconds"].sum() / 3600))

# %% [markdown]
# (sec-thesis-comparison)=
# ## The thesis's comparison
#
# The draft reports one comparison with figures: the network on 30 % of the real images, on all of them, and on 30 % with 70 % synthetic images, at equal
# epochs and on other slices of known people. {numref}`fig-by-simulation` repeats it, with `morph` for DALL·E and with duplicates as the control.

# %% mystnb={"figure": {"caption": "The thesis's comparison: test cross-entropy of every simulation (image protocol, equal epochs), joined across the training sets: points of one simulation share their split, their sample and their initial weights. Above them medians with 95 % intervals; crosses are the draft's medians of 100 simulations.", "name": "fig-by-simulation"}, "image": {"alt": "Test cross-entropy of every simulation in the thesis's comparison, with medians and intervals, and the draft's medians as crosses"}} tags=["hide-input"]
main = rows_of(rows, arms_of["draft"])
if len(main):
    table = summarise(main, loss).rename(columns={"median": "value"})
    table, points = table.assign(draft=table["condition"].map(draft)), main.assign(value=main[loss])
    figures.plot_forest(table, points=points, labels=words, x_label=loss_label)

# %% tags=["hide-input"]
measures = {loss: "loss", calibrated: "calibrated loss", "test_accuracy": "accuracy, %"}
numbered_table(
    protocol_table(main, list(main["condition"].unique()), measures=measures, words=words, draft=draft),
    "Medians of the thesis's comparison: over simulations, with their 95 % intervals, beside the draft's (of its validation loss). Calibrated: at one "
    "temperature, fitted on the validation part.",
    "tab-cross-entropy",
)

# %% tags=["hide-input"]
against_alone, against_duplicates = (paired_groups(main, loss, baseline=base) for base in (alone, duplicates))
cooled_alone, cooled_duplicates = (paired_groups(main, calibrated, baseline=base) for base in (alone, duplicates))
right_alone = paired_groups(main, "test_accuracy", baseline=alone)
numbered_table(
    contrast_table(pd.concat([against_alone, against_duplicates]), words=words),
    "Paired differences of the thesis's comparison: test cross-entropy with 95 % intervals.",
    "tab-comparison",
)

# %% tags=["hide-input"]
numbered_table(
    contrast_table(pd.concat([cooled_alone, cooled_duplicates]), words=words),
    "Paired differences of the thesis's comparison after calibration: test cross-entropy with 95 % intervals.",
    "tab-comparison-calibrated",
)

# %% [markdown]
# {claim}`all-images-best` All the real images give the lowest loss, {glue:text}`ce_full:.3f` against {glue:text}`ce_real:.3f` for the 30 % sample.
# {claim}`draft-loss-rises` Deformed images do not bring the sample nearer to it: the loss rose, by {glue:text}`draft_mixed:s` with
# deformed images and by {glue:text}`draft_duplicates:s` with duplicates. {claim}`draft-accuracy-rises` Yet accuracy rose too, by
# {glue:text}`accuracy_mixed:s` and {glue:text}`accuracy_duplicates:s` as a share of the test images.
#
# The two agree once confidence is taken out. The mixed set trains for more than three times as many steps, and the network grows surer of itself, also
# where it errs. {claim}`draft-calibrated-falls` At one temperature, fitted on the validation part, the loss fell: by
# {glue:text}`calibrated_mixed:s` with deformed images and by {glue:text}`calibrated_duplicates:s` with duplicates. {claim}`equal-to-duplicates`
# Deformation is equivalent to copies of the same images, within the margin of 10 %: the two differ by {glue:text}`draft_control:s` before calibration and by
# {glue:text}`calibrated_control:s` after it, where the copies are the better by a little. What the sample gains it gains without new content.
# {claim}`diffusion-alike` A generative model does the same: in {glue:text}`n_diffused:d` simulations so far, images by diffusion raised the loss by {glue:text}`draft_diffused:s`
# and, calibrated, changed it by {glue:text}`calibrated_diffused:s`.
#
# The draft's medians, 0.220, 0.176 and 0.174, put the mixed set level with all real images. Its settings are not stated, so only the order can be compared, and
# this order does not come back here.

# %% [markdown]
# (sec-policies-result)=
# ## Traditional policies
#
# The draft found that synthetic images did better than traditional augmentation of the same sample (its figure 7.2). A policy adds no steps, so each is
# shown twice: at the epochs of the sample, as in the draft, and at the steps of the full set.

# %% mystnb={"figure": {"caption": "Policies on the real sample, at its epochs and at the full set's steps, beside synthetic images and duplicates (image protocol): test cross-entropy of every simulation, medians with 95 % intervals; crosses are the draft's medians.", "name": "fig-policies-compared"}, "image": {"alt": "Test cross-entropy of every policy at the sample's epochs and at the full set's steps, beside synthetic images and duplicates"}} tags=["hide-input"]
tried = pd.concat([main, rows_of(rows, arms_of["policies"])]).drop_duplicates("key")
if tried["policy"].nunique() > 1:
    table = summarise(tried, loss).rename(columns={"median": "value"})
    table, points = table.assign(draft=table["condition"].map(draft)), tried.assign(value=tried[loss])
    figures.plot_forest(table, points=points, labels=words, x_label=loss_label)

# %% tags=["hide-input"]
pairs = [arm.label for arm in conditions.policy_arms(real_frac, policies)]
part = tried[tried["condition"].isin([longer, *pairs, mixed])]
policy_contrasts, policy_calibrated = (paired_groups(part, metric, baseline=mixed) for metric in (loss, calibrated))
table = contrast_table(policy_contrasts, words=words, calibrated=policy_calibrated)
policy_right = paired_groups(part, "test_accuracy", baseline=mixed)
caption = f"Policies on {x} of the real images against the sample with synthetic images: paired differences in test cross-entropy, and after calibration, with 95 % intervals."
numbered_table(table, caption, "tab-policies-compared")

# %% [markdown]
# {claim}`policies-short` At the sample's epochs no policy has a lower loss than the mixed set, as in the draft; but these trainings are a third as
# long. {claim}`policies-lower` For as many steps the order is reversed, in {glue:text}`n_policies:d` simulations: elastic deformation, anew at
# every step, has a lower loss by {glue:text}`elastic_steps:s`, RandAugment by {glue:text}`randaugment_steps:s`, AutoAugment by
# {glue:text}`autoaugment_steps:s`.
#
# {claim}`policies-confident` This order, too, is one of confidence. At one temperature every policy's loss is above the mixed set's, elastic deformation's by
# {glue:text}`elastic_calibrated:s`, and so is its share of errors: accuracy changes by {glue:text}`elastic_right:s` with elastic deformation and by
# {glue:text}`affine_right:s` with affine maps. A policy keeps a network from knowing its training slices by heart, and
# where the test slices are their neighbours, that is what a score rewards. {claim}`longer-is-best` The sample itself, without any policy, trained for as many
# steps changes the calibrated loss by {glue:text}`longer_calibrated:s`: the mixed set does not reach it.

# %% [markdown]
# (sec-controls)=
# ## Controls and filters
#
# A mixed set is larger than its sample and trains for longer. Each control removes one explanation of a gain: duplicates (more images), longer training (more
# steps), oversampling and class weights (balance), shuffled labels (the sight of more brains), synthetic images alone, and synthetic images first. All take the
# steps of the full set. Filters drop near-copies of real images, or synthetic images whose label a classifier does not recognise.

# %% mystnb={"figure": {"caption": "Paired difference in test cross-entropy from the real sample trained for as many steps (image protocol), with 95 % intervals, and in how many simulations the training set is the better one.", "name": "fig-controls"}, "image": {"alt": "Paired differences in test cross-entropy of all controls from the real sample trained for as many steps"}} tags=["hide-input"]
part = pd.concat([main, rows_of(rows, arms_of["controls"])]).drop_duplicates("key")
control_contrasts, control_calibrated = (paired_groups(part, metric, baseline=longer) for metric in (loss, calibrated))
table = contrast_table(control_contrasts, words=words, calibrated=control_calibrated)
label = f"Test cross-entropy against {words.get(longer, longer)} (%)"
if len(control_contrasts):
    figures.plot_forest(
        figures.differences(control_contrasts).drop(columns="group"),
        labels=words,
        lines={"": 0},
        better="left",
        x_label=label,
    )

# %% tags=["hide-input"]
caption = f"Every control against {x} of the real images trained for as many steps: paired differences in test cross-entropy, and after calibration, with 95 % intervals."
numbered_table(table, caption, "tab-controls")

# %% tags=["hide-input"]
part = rows_of(rows, arms_of["filters"])
filter_contrasts, filter_calibrated = (paired_groups(part, metric, baseline=mixed) for metric in (loss, calibrated))
table = contrast_table(filter_contrasts, words=words, calibrated=filter_calibrated)
dropped = (100 * part["n_filtered"] / (part["n_filtered"] + part["n_synthetic"])).groupby(part["condition"]).median()
if len(table):
    table.insert(1, "dropped, %", filter_contrasts["condition"].map(dropped).to_numpy())
caption = "Filtered synthetic images against all of them: the share that is dropped (median), and paired differences in test cross-entropy, and after calibration, with 95 % intervals."
numbered_table(table, caption, "tab-filters", formats={"dropped, %": ".1f"})

# %% [markdown]
# {claim}`steps-suffice` Training for longer is enough. Against the sample that trained for as many steps, deformed images change the calibrated loss by
# {glue:text}`control_morph:s`, duplicates by {glue:text}`control_duplicate:s` and images by diffusion by {glue:text}`control_diffusion:s`: none lowers it in every
# simulation. {claim}`labels-matter` The labels of synthetic images do matter. Shuffled, they change it by {glue:text}`control_shuffled:s`. Deformed images
# without any real one change it by {glue:text}`control_only:s`, a small price beside that: most of what the sample shows is in its deformations too.
# Each control has {glue:text}`n_controls:d` simulations or more so far.

# %% [markdown]
# (sec-selective)=
# ## Selective augmentation
#
# The published thesis claims a benefit where synthetic images are added to the mild and moderate classes alone. Each rare class is augmented to the number that
# it has in the full set, and what counts is its recall. Sixty-four images of two people make up the moderate class: its recall moves in large steps.

# %% mystnb={"figure": {"caption": "Selective augmentation: the share of each class's test images that is recognised (image protocol), median over simulations with 95 % intervals (ranges below ten simulations).", "name": "fig-selective"}, "image": {"alt": "Recall of each class when synthetic images are added to the rare classes alone"}} tags=["hide-input"]
chosen = rows_of(rows, [*arms_of.get("classes", ()), conditions.thesis_arms(real_frac, generator=generator)[2]])
if chosen["condition"].nunique() > 1:
    figures.plot_forest(recalls(chosen, classes), labels=words, x_label="Recall on the test part")

# %% tags=["hide-input"]
own_recalls = [paired_groups(chosen, f"test_recall_{k}", baseline=longer) for k in range(len(classes))]
selective_contrasts, selective_calibrated = (
    paired_groups(chosen, metric, baseline=longer) for metric in (loss, calibrated)
)
table = contrast_table(selective_contrasts, words=words, calibrated=selective_calibrated)
caption = "Selective augmentation against the real sample trained for as many steps: paired differences in test cross-entropy, and after calibration, with 95 % intervals."
numbered_table(table, caption, "tab-selective")

# %% [markdown]
# In {glue:text}`n_classes:d` simulations so far, deformed images of the mild class alone changed its recall by {glue:text}`recall_mild:s`, those of the
# moderate class alone its own by {glue:text}`recall_moderate:s`. With 13 moderate test images one image is a step of 0.08. Duplicates of both classes changed the calibrated loss by
# {glue:text}`both_duplicate:s`, deformed images of both by {glue:text}`both_morph:s`. The published claim is neither borne out nor refuted.

# %% [markdown]
# (sec-share)=
# ## From few real images to all
#
# The draft's advantage at 30 % was gone at 40 to 80 %, and reversed at 80 %. The sweep varies the real share; the augmented set always has the size of the full
# one.

# %% mystnb={"figure": {"caption": "Median test cross-entropy (logarithmic axes) against the share of real images: alone, with synthetic images up to the full size, and with duplicates (image protocol); on the right after calibration. Bars are 95 % intervals (ranges below ten simulations).", "name": "fig-sweep"}, "image": {"alt": "Test cross-entropy against the share of real images, alone, with synthetic images and with duplicates, before and after calibration"}} tags=["hide-input"]
swept = rows_of(rows, arms_of["sweep"])
columns = ["real_frac", "value", "low", "high"]
if len(swept):
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 3.4), sharey=True)
    titles = ("as trained", "after calibration")
    for axis, metric, title in zip(axes, (loss, calibrated), titles, strict=True):
        curves = sweep_curves(swept, metric).groupby("group", sort=False)
        curves = {group: (part[columns].to_numpy() * (100, 1, 1, 1)).T for group, part in curves}
        figures.plot_curves(curves, x_label="Real share of the training images (%)", y_label=loss_label, ax=axis)
        axis.set(xlim=(0, 104), yscale="log", title=title)
    axes[1].get_legend().remove()

# %% tags=["hide-input"]
found = {loss: [], calibrated: []}
for (_, part), metric in product(swept.groupby("real_frac"), found):
    base = part.drop_duplicates("generator").set_index("generator")["condition"]
    found[metric].append(paired_groups(part, metric, baseline=base.get("none", "")))
    found[metric].append(paired_groups(part[part["generator"] != "none"], metric, baseline=base.get("duplicate", "")))
share_contrasts, share_calibrated = (pd.concat(one) if one else pd.DataFrame() for one in found.values())
numbered_table(
    contrast_table(share_contrasts, words=words, calibrated=share_calibrated),
    "Shares of real images: paired differences in test cross-entropy, and after calibration, with 95 % intervals.",
    "tab-sweep",
)

# %% [markdown]
# {claim}`shares-raise` Up to 40 % of the images real, deformed images beside them raise the loss in every simulation, most where real images are fewest: by
# {glue:text}`share_10:s` at 10 %, by {glue:text}`share_40:s` at 40 %. {claim}`shares-calibrated` After calibration they lower it at every share up to 80 %, by
# {glue:text}`share_10_calibrated:s` at 10 %, {glue:text}`share_50_calibrated:s` at 50 % and {glue:text}`share_80_calibrated:s` at 80 %. {claim}`shares-alike`
# Duplicates do the same: up to 70 % of the images real the two differ by less than 10 % on average, after calibration; at 80 and 90 %, where few images are added,
# deformed ones are above duplicates by {glue:text}`share_80_control:s` and {glue:text}`share_90_control:s`. An advantage at 30 % that is gone at higher shares, as in
# the draft, does not show; {claim}`shares-below-all` and no share is brought to the loss of all real images. Shares other than 30 % have
# {glue:text}`n_shares:d` simulations so far.

# %% [markdown]
# (sec-held-out)=
# ## Held-out people
#
# Under the image protocol a network is tested on people whom it has seen. Here the 200 people are dealt to five folds, what is scarce is *people*, with all
# their slices, and each person is graded by networks that never saw them. The probabilities of a person's slices, at a temperature fitted to validation slices,
# are averaged and scored as log loss per person. The first rows of {numref}`tab-held-out` are references, which any network should beat.

# %% tags=["hide-input"]
order = listed_conditions(record_parts() if is_record else parts)
held_out = rows_of(rows, [one for one in order if one.protocol == "subject" and one.real_frac in (real_frac, 1)])
larger = held_out["architecture"].isin(architectures) | held_out["weights"].eq("imagenet")
networks, held_out = held_out[larger], held_out[~larger]
held_out, networks = whole_repeats(held_out), whole_repeats(networks)
people = person_scores(held_out) if len(held_out) else pd.DataFrame()
references, to_beat = reference_conditions(held_out), full_reference(held_out)
scores = summarise_people(people, references=references, to_beat=to_beat) if len(people) else pd.DataFrame()
caption = (
    "Held-out people: log loss per person, calibrated, with its 95 % interval over people and trainings; the same before calibration; area under the curve "
    "of demented against not; and the paired difference from tissue fractions of all people. A dagger marks what is not better than these."
)
numbered_table(people_table(scores, words=words, ordered=is_ordered), caption, "tab-held-out")

# %% mystnb={"figure": {"caption": "Held-out people: log loss per person (calibrated, validated network) with 95 % intervals over people and trainings. Lines are the references that see every real training person.", "name": "fig-people"}, "image": {"alt": "Log loss per held-out person of every training set, beside the lines of class shares, tissue fractions and PCA"}} tags=["hide-input"]
if len(scores):
    lines = scores[scores["reference"]].drop_duplicates("condition").set_index("condition")["log_loss"]
    whole = held_out[held_out["real_frac"].eq(1) & held_out["generator"].eq("none")]["condition"].unique()
    table = scores[~scores["reference"]].rename(columns={"log_loss": "value"})
    lines = {words[name].split(":")[0]: lines[name] for name in references if name in whole}
    figures.plot_forest(table, labels=words, lines=lines, better="left", x_label="Log loss per person (nats)")

# %% [markdown]
# {claim}`tissue-unbeaten` No network was shown to be better than a logistic regression on tissue fractions of all people, {glue:text}`loss_tissue:.3f` nats.
# {claim}`all-beats-shares` The network on all people, {glue:text}`loss_all:.3f`, is better than the class shares, {glue:text}`loss_shares:.3f`; the difference
# is {glue:text}`all_shares:s`. {claim}`some-beat-shares` So is the network on 30 % of the people, {glue:text}`loss_some:.3f`, by {glue:text}`some_shares:s`. With
# duplicates or synthetic images beside these, or simulated people in their place, its loss is below the shares' by {glue:text}`beside_low:.3f` to {glue:text}`beside_high:.3f` nats on average, in some
# of these cases with an interval that holds zero. {claim}`auc-alike` How well they tell demented from other people hardly depends on the training set:
# the area under the curve lies between {glue:text}`auc_low:.2f` and {glue:text}`auc_high:.2f` for every CNN. Their grades differ more, with a weighted kappa from
# {glue:text}`kappa_low:.2f` to {glue:text}`kappa_high:.2f`, and so does how far their probabilities can be trusted. The draft samples 30 % of everybody's images, which loses no person; on held-out people that
# changed the loss by {glue:text}`people_images:s` against 30 % of the people with all their slices.

# %% mystnb={"figure": {"caption": "The planned contrasts: paired difference in log loss per held-out person, with 95 % intervals and the margin of equivalence.", "name": "fig-planned"}, "image": {"alt": "Paired differences in log loss of the one primary and four secondary contrasts, with the margin of equivalence"}} tags=["hide-input"]
planned = planned_contrasts(rows) if len(people) else pd.DataFrame()
if len(planned) and planned["n"].any():
    named = planned.assign(condition=[f"{row.condition} against {row.baseline}" for row in planned.itertuples()])
    table = figures.differences(named[named["n"] > 0])
    label = "Difference in log loss (nats per person)"
    figures.plot_forest(table, lines={"": 0}, better="left", x_label=label).axvspan(
        -MARGIN, MARGIN, color="#56B4E9", alpha=0.15, zorder=0
    )

# %% tags=["hide-input"]
caption = f"The planned contrasts, the primary one first: differences in log loss per held-out person with 95 % intervals; equivalent within {MARGIN} nats."
numbered_table(
    contrast_table(planned[planned["n"] > 0], words={}) if len(planned) else planned, caption, "tab-planned-results"
)

# %% [markdown]
# {claim}`planned-equivalent` Three of the planned contrasts are decided, each as equivalence. Against duplicates, deformed images changed the loss by {glue:text}`morph:s` and simulated
# people by {glue:text}`simulated:s`; and 30 % of the people with simulated ones differ from all real people by {glue:text}`simulated_all:s`.
# {claim}`planned-undecided` The others are undecided: the primary one, diffusion against duplicates, {glue:text}`primary:s` in {glue:text}`n_primary:d` simulations, as many as were planned, and simulated people alone against all
# real people, {glue:text}`alone_all:s`.
#
# {claim}`little-at-stake` One training set can be equivalent to both because there is little between them. All real people changed the loss by {glue:text}`people_all:s` against 30 % of them:
# on average less than the margin, in an interval that holds zero and reaches beyond the margin. What the missing people themselves bring is thus undecided. Shuffling
# the labels of the simulated people left {glue:text}`people_shuffled:s` against the sample alone, correct labels {glue:text}`people_simulated:s`: what part of
# their effect is regularisation, and what part anatomy, is open.

# %% tags=["hide-input"]
sample = next(
    (
        one.label
        for one in order
        if one.scarce == "subjects"
        and one.real_frac == real_frac
        and one.generator == "none"
        and one.architecture == "cnn"
    ),
    "",
)
networks_only = people[~people["condition"].isin(references)] if len(people) else people
there = len(networks_only) and sample in set(networks_only["condition"])
exploratory = compare_people(networks_only, baseline=sample) if there else pd.DataFrame()
caption = f"Every training set against {x} of the people alone (exploratory): log loss per held-out person with 95 % intervals."
numbered_table(contrast_table(exploratory, words=words), caption, "tab-exploratory")

# %% [markdown]
# {claim}`choices-open` Two choices of the training were also made otherwise, in {glue:text}`n_choices:d` simulations each, too few for a verdict. At 128 pixels, four times the
# work, the loss changes by {glue:text}`full_pixels:s` with all people and by {glue:text}`people_pixels:s` with 30 % of them; without a policy it changes by
# {glue:text}`full_bare:s` and {glue:text}`people_bare:s`. None of the four goes one way in every simulation.

# %% tags=["hide-input"]
starts = {
    "all" if one.real_frac == 1 else "some": (one.label, replace(one, weights="none").label)
    for one in order
    if one.weights == "phantom"
}
shown = set(networks_only.get("condition", ()))
complete = [pair for pair in starts.values() if shown >= {*pair}]
found = [compare_people(networks_only[networks_only["condition"].isin(pair)], baseline=pair[1]) for pair in complete]
start_contrasts = pd.concat(found) if found else pd.DataFrame()
caption = "Weights learnt on phantoms against random initial weights (exploratory): log loss per held-out person, trained on the same people, with 95 % intervals."
numbered_table(contrast_table(start_contrasts, words=words), caption, "tab-starts")

# %% [markdown]
# {claim}`phantom-start` Simulated people may serve best as a place to start. A network that learns on phantoms for {glue:text}`../notebooks/06_methodology.ipynb::phantom_steps:,d` steps, and is then fine-tuned on all people for
# {glue:text}`../notebooks/06_methodology.ipynb::tuning_steps:d` where the others take {glue:text}`../notebooks/06_methodology.ipynb::people_steps:,d`, has the lowest loss of all networks, {glue:text}`loss_start_all:.3f`: {glue:text}`start_all:s` against random initial weights. Fine-tuned on
# 30 % of the people it reaches {glue:text}`loss_start_some:.3f`, {glue:text}`start_some:s`, about what all people give from random weights. Both intervals
# reach zero ({numref}`tab-starts`), no plan named these comparisons, and all simulations start from one training on phantoms, whose variance the
# intervals do not cover.

# %% mystnb={"figure": {"caption": "Reliability of the calibrated probability that a held-out person is demented: observed share against mean prediction, with Wilson's intervals of as many people as a bin holds.", "name": "fig-reliability"}, "image": {"alt": "Observed share of demented people against the mean predicted probability of four training sets"}} tags=["hide-input"]
planned_labels = planned_arms(rows)
shown = [
    sample,
    *(planned_labels.get(name) for name in ("all real people", "30 % of people + 70 % simulated", "simulated alone")),
]
if len(people) and is_ordered:
    kept = people[people["condition"].isin(shown)]
    columns = ["predicted", "observed", "low", "high"]
    curves = {
        words[name]: part[columns].to_numpy().T
        for name, part in reliability(kept, n_bins=5).groupby("condition", observed=True)
    }
    figures.plot_curves(
        curves | {"perfect": ([0, 1], [0, 1])},
        references=["perfect"],
        x_label="Predicted probability of dementia",
        y_label="Observed share",
    )

# %% tags=["hide-input"]
two = ("30 % of people + 70 % simulated", "30 % of people + 70 % duplicates")
pair = [planned_labels.get(name) for name in two]
power = power_table(people, *pair) if all(pair) else pd.DataFrame()
caption = f"The smallest difference that a study of n people shows with 80 % power, if trainings did not vary: from the spread over people of {two[0]} against {two[1]}."
columns = {
    "n_people": "people",
    "log_loss": "log loss, nats",
    "accuracy": "accuracy",
    "discordance": "people on whom one of two is right",
}
numbered_table(
    power.reindex(columns=list(columns)).rename(columns=columns) if len(power) else power, caption, "tab-power"
)

# %% [markdown]
# Two things make these intervals wide: other people to test, and other people to train on. Each network is trained on another 30 % of the people, and is
# better or worse on all whom it tests; with {glue:text}`n_repeats:d` repeats this second part is not small. It shrinks as the record grows, the first does not.
#
# The first shrinks where people can be had in any number. {numref}`fig-more-people` puts the same question to 50 to 800 simulated people in the place of the 200 real
# ones, in {glue:text}`n_sizes:d` simulations each. There `simulated` shows other people who are made by the same rules, so that it gives the most that a model of
# anatomy can give. {claim}`more-people` On average, and without a verdict, it does what was hoped. From 100 people on, simulated images beside 30 % of them have a lower loss than duplicates, by
# {glue:text}`more_100:s` with 100 people and {glue:text}`more_800:s` with 800, and reach the loss of all people. With 50 people, 15 in the sample, nothing can be told. On the
# 200 real people the same contrast is {glue:text}`simulated:s`, and the missing people themselves bring {glue:text}`people_all:s`: there is less to replace. Either
# their slices show less of the grade, or the network does not find it.

# %% tags=["remove-cell"]
sized = {"30 %": "30 % of people", "30 % + duplicates": two[1], "30 % + simulated": two[0], "all": "all real people"}
sizes = {}
for _, part in phantom_rows.groupby("images") if is_record else ():
    whole = whole_repeats(part)
    arms = planned_arms(whole)
    # a part that is not finished has not tested everybody, or not under every training set
    if whole["fold"].nunique() == 5 and {*sized.values()} <= {*arms}:
        graded = person_scores(whole)
        sizes[graded["subject"].nunique()] = graded, arms

# %% tags=["remove-cell"]
curves, records, more = {name: [] for name in sized}, [], {}
for n, (graded, arms) in sorted(sizes.items()):
    levels = summarise_people(graded).set_index("condition")
    levels = {name: levels.loc[arms[arm]] for name, arm in sized.items()}
    for name, level in levels.items():
        curves[name].append([n, *level[["log_loss", "low", "high"]]])
    pair = [arms[name] for name in two]
    both = graded[graded["condition"].isin(pair)]
    (more[n],) = compare_people(both, baseline=pair[1]).to_dict("records")
    records.append(
        {"people": n, "n": more[n]["n"]}
        | {name: level["log_loss"] for name, level in levels.items()}
        | {"simulated against duplicates": difference_text(more[n])}
        | {"shown at 80 % power": power_table(both, *pair, n_people=[n])["log_loss"].iloc[0]}
    )

# %% mystnb={"figure": {"caption": "The same training sets on simulated people, by the number of people in the study (logarithmic axis): log loss per held-out person, calibrated, with ranges over simulations.", "name": "fig-more-people"}, "image": {"alt": "Log loss per held-out simulated person against the number of people, for four training sets"}} tags=["hide-input"]
if records:
    numbers = {name: list(map(list, zip(*points, strict=True))) for name, points in curves.items()}
    axis = figures.plot_curves(numbers, x_label="Simulated people in the study", y_label="Log loss per person (nats)")
    axis.set_xscale("log")
    axis.set_xticks(sorted(sizes), labels=map(str, sorted(sizes)))
    axis.minorticks_off()

# %% tags=["hide-input"]
caption = "The same training sets on simulated people: log loss per held-out person, calibrated; simulated people against duplicates, paired; and the smallest difference that so many people show with 80 % power, if trainings did not vary."
numbered_table(pd.DataFrame(records), caption, "tab-more-people")

# %% [markdown]
# (sec-no-real)=
# ## Without any real image
#
# How far does a network get that trains on simulated anatomy alone? Real people set the grey values and the sharpness of its images, and real validation people
# its step and temperature. Trained on 400 simulated people, it reaches {glue:text}`loss_simulated:.3f` nats, against {glue:text}`loss_all:.3f` for the network that saw all the real ones.

# %% tags=["hide-input"]
synthetic = held_out[held_out["synth_use"].eq("only")]["condition"].unique() if len(held_out) else []
everybody = planned_labels.get("all real people")
kept = people[people["condition"].isin([*synthetic, everybody, to_beat])] if len(people) else people
if len(synthetic) and everybody and to_beat:
    without = pd.concat([compare_people(kept, baseline=base) for base in (everybody, to_beat)])
    without = without[without["condition"].isin(synthetic)]
else:
    without = pd.DataFrame()
caption = "Training on simulated people alone, references included, which have no temperature, against all real people and against their tissue fractions: log loss per held-out person with 95 % intervals."
numbered_table(contrast_table(without, words=words), caption, "tab-no-real")

# %% [markdown]
# (sec-networks)=
# ## ResNet-18 and the vision transformer
#
# The thesis names two further networks, and its draft reports no figure for either. They are trained from random weights on 30 % of the people, at 64 × 64 pixels,
# alone and with synthetic images or duplicates. {numref}`tab-networks` puts them beside the CNN and the tissue fractions in the same simulations.
#
# {claim}`networks-alike` Neither is better than the CNN. In {glue:text}`n_networks:d` simulations of each, which test everybody once, ResNet-18 has {glue:text}`loss_resnet18:.3f` nats and
# ViT-Tiny {glue:text}`loss_vit_tiny:.3f`, the CNN {glue:text}`loss_small:.3f`; they differ from it by {glue:text}`resnet18_none:s` and {glue:text}`vit_tiny_none:s`. Nor do added
# images help them: simulated people change the loss of ResNet-18 by {glue:text}`resnet18_simulated:s` and that of ViT-Tiny by {glue:text}`vit_tiny_simulated:s`, duplicates by
# {glue:text}`resnet18_duplicate:s` and {glue:text}`vit_tiny_duplicate:s`, up in one simulation and down in another. {claim}`networks-tissue` None comes as low as the tissue fractions,
# {glue:text}`loss_tissue_beside:.3f` nats. They train for fewer steps than the CNN, at rates that
# were not compared on people. The published version, too, reports minimal
# gains for vision transformers {cite:p}`kwon2024enhancing`.

# %% tags=["hide-input"]
network_contrasts = []
for _, part in networks.groupby(["architecture", "weights", "fine_tune"]):
    base = part.loc[part["generator"].eq("none"), "condition"]
    network_contrasts.append(paired_groups(part, loss, baseline=base.iloc[0] if len(base) else ""))
network_contrasts = pd.concat(network_contrasts) if network_contrasts else pd.DataFrame()
caption = "Differences that synthetic images and duplicates make to larger networks: log loss per held-out person with 95 % intervals."
numbered_table(contrast_table(network_contrasts, words=words), caption, "tab-networks-compared")

# %% tags=["hide-input"]
small = [sample, *(planned_labels.get(f"30 % of people + 70 % {kind}") for kind in ("duplicates", "simulated"))]
beside = held_out[held_out["condition"].isin([to_beat, *small]) & held_out["repeat"].isin(networks["repeat"])]
graded = person_scores(pd.concat([beside, networks])) if len(networks) else pd.DataFrame()
known = [to_beat] if to_beat in set(beside["condition"]) else []
network_scores = summarise_people(graded, references=known, to_beat=next(iter(known), None)) if len(graded) else graded
small_words = {name: f"{words[name]}, CNN" for name in small if name in words}
caption = (
    "Larger networks on people, beside the CNN and the tissue fractions of all people: log loss per held-out person, calibrated, with its 95 % interval; before calibration; "
    "and other scores. A dagger marks what is not better than the tissue fractions."
)
numbered_table(people_table(network_scores, words=words | small_words, ordered=is_ordered), caption, "tab-networks")

# %% tags=["remove-cell"]
graded_arms = networks.drop_duplicates("condition").set_index("condition")
by_network = graded_arms[graded_arms["generator"].eq("none") & graded_arms["weights"].eq("none")]
by_network = by_network.reset_index().set_index("architecture")["condition"]
there = len(graded) and sample in set(graded["condition"])
beside_small = compare_people(graded, baseline=sample) if there else pd.DataFrame(columns=["condition"])
# without the CNN's own training sets, which have more simulations in the tables above
beside_small = beside_small[beside_small["condition"].isin(graded_arms.index)]
network_levels = network_scores.set_index("condition") if len(network_scores) else pd.DataFrame()
if there:
    shown = {"small": sample} | by_network.to_dict()
    glue_values(**{f"loss_{kind}": float(network_levels.at[arm, "log_loss"]) for kind, arm in shown.items()})
    glue_values(n_networks=int(network_levels.loc[graded_arms.index, "n"].min()))
    glue_values(loss_tissue_beside=float(network_levels["log_loss"].get(to_beat, 0.0)))

# %% [markdown]
# (sec-settled)=
# ## What is settled, and what is not
#
# {numref}`tab-settled` collects what was asked and what the record answers so far.

# %% tags=["remove-cell"]
against_all = pd.DataFrame()
if len(networks_only) and everybody in set(networks_only["condition"]):
    against_all = compare_people(networks_only, baseline=everybody)
tables = [
    against_alone, against_duplicates, cooled_alone, cooled_duplicates, right_alone, policy_contrasts, policy_calibrated,
    policy_right, control_calibrated, selective_calibrated, share_contrasts, share_calibrated, *own_recalls, exploratory,
    against_all, start_contrasts, without, planned, network_contrasts, beside_small,
]  # fmt: skip
found = {}
for row in (row for table in tables for row in table.to_dict("records")):
    pair = (row.get("metric"), row["condition"], row["baseline"])
    if found.setdefault(pair, row)["n"] != row["n"]:  # or a sentence could take its number from fewer simulations
        raise ValueError(
            f"two tables compare {' with '.join(pair[1:])}, over {found[pair]['n']} and {row['n']} simulations"
        )

# %% tags=["remove-cell"]
label = {words[name].replace("\N{NO-BREAK SPACE}", " "): name for name in words}
measure = {"draft": loss, "calibrated": calibrated, "accuracy": "test_accuracy"}
pairs = {
    f"{name}_{kind}": (column, arm, base)
    for name, column in measure.items()
    for kind, arm, base in (
        ("mixed", mixed, alone), ("duplicates", duplicates, alone), ("full", full, alone), ("control", mixed, duplicates),
        ("diffused", diffused.label, alone),
    )
}  # fmt: skip
on_people = {
    "all": everybody, "images": label.get("30 % images"),
    "shuffled": label.get("30 % people + 70 % simulated, labels shuffled"),
    "pixels": label.get("30 % people, 128 pixels"), "bare": label.get("30 % people, no policy"),
    **{kind: planned_labels.get(f"30 % of people + 70 % {kind}") for kind in ("simulated", "morph", "duplicates")},
}  # fmt: skip
for arm in conditions.policy_arms(real_frac, policies):
    pairs[f"{arm.policy}_{arm.budget}"] = (loss, arm.label, mixed)
    if arm.budget == "steps":
        pairs[f"{arm.policy}_calibrated"] = (calibrated, arm.label, mixed)
        pairs[f"{arm.policy}_right"] = ("test_accuracy", arm.label, mixed)
pairs["longer_calibrated"] = (calibrated, longer, mixed)

# %% tags=["remove-cell"]
for arm in [*arms_of["draft"], *arms_of["controls"]]:
    if arm.generator != "none":  # the others have no name of their own
        name = arm.generator if arm.synth_use == "mixed" else arm.synth_use
        pairs[f"control_{name}"] = (calibrated, arm.label, longer)
for arm in arms_of.get("classes", ()):
    if len(arm.synth_classes) == 2:
        pairs[f"both_{arm.generator}"] = (calibrated, arm.label, longer)
    elif arm.synth_classes in [(2,), (3,)]:
        name = ("mild", "moderate")[arm.synth_classes[0] - 2]
        pairs[f"recall_{name}"] = (f"test_recall_{arm.synth_classes[0]}", arm.label, longer)
by_share = {(f"share_{100 * arm.real_frac:.0f}", arm.generator): arm.label for arm in arms_of["sweep"]}
for name, kind in by_share:
    if kind == generator:
        swept_arm, swept_alone, swept_twin = (by_share[name, other] for other in (generator, "none", "duplicate"))
        pairs[name] = (loss, swept_arm, swept_alone)
        pairs[f"{name}_calibrated"] = (calibrated, swept_arm, swept_alone)
        pairs[f"{name}_control"] = (calibrated, swept_arm, swept_twin)
pairs |= {f"start_{name}": ("test_subject_cross_entropy", *pair) for name, pair in starts.items()}
pairs |= {f"people_{name}": ("test_subject_cross_entropy", arm, sample) for name, arm in on_people.items()}
for name, what in (("pixels", "128 pixels"), ("bare", "no policy")):
    pairs[f"full_{name}"] = ("test_subject_cross_entropy", label.get(f"all people, {what}"), everybody)
for arm in graded_arms.itertuples():
    base = sample if arm.generator == "none" else by_network.get(arm.architecture)
    pairs[f"{arm.architecture}_{arm.generator}"] = ("test_subject_cross_entropy", arm.Index, base)

# %% tags=["remove-cell"]
short = ("primary", "simulated", "morph", "simulated_all", "alone_all")
pairs |= dict(zip(short, [(None, *row[:2]) for row in PLANNED], strict=True))
said = {name: found[pair] for name, pair in pairs.items() if pair in found and found[pair]["n"]}
said |= {f"more_{n}": row for n, row in more.items()}
outcome = {name: row["outcome"] for name, row in said.items()}
side = {name: int(row["low"] > 0) - int(row["high"] < 0) for name, row in said.items()}  # 0: both sides, or neither

# %% tags=["remove-cell"]
shares_of_all = label.get("class shares: all people")
beyond = compare_people(people, baseline=shares_of_all).to_dict("records") if shares_of_all else []
beyond = {row["condition"]: row for row in beyond}
ends = {"all_shares": everybody, "some_shares": sample}
said |= {name: beyond[arm] for name, arm in ends.items() if arm in beyond}
levels = scores.set_index("condition")["log_loss"] if len(scores) else pd.Series(dtype=float)
glue_values(**{name: difference_text(row) for name, row in said.items()})
glue_values(
    loss_shares=levels.get(shares_of_all, 0.0),
    loss_tissue=levels.get(to_beat, 0.0),
    loss_all=levels.get(everybody, 0.0),
    loss_some=levels.get(sample, 0.0),
)
glue_values(
    loss_simulated=levels.get(planned_labels.get("simulated alone"), 0.0),
    **{f"loss_start_{name}": levels.get(pair[0], 0.0) for name, pair in starts.items()},
)
auc = scores[~scores["reference"]]["auc"].agg(["min", "max"]).tolist() if len(scores) else [0.0, 0.0]
kappa = scores[~scores["reference"]]["kappa"].agg(["min", "max"]).tolist() if len(scores) else [0.0, 0.0]
glue_values(auc_low=auc[0], auc_high=auc[1], kappa_low=kappa[0], kappa_high=kappa[1])

# %% tags=["remove-cell"]
median = main.groupby("condition")[loss].median()
glue_values(
    **{
        f"ce_{name}": median.get(arm, 0.0)
        for name, arm in (("real", alone), ("full", full), ("mix", mixed), ("duplicate", duplicates))
    }
)
glue_values(
    n_people=int(held_out["condition"].eq(everybody).sum()) if len(held_out) else 0,
    n_draft=int(main["condition"].eq(mixed).sum()),
    n_diffused=int(main["condition"].eq(diffused.label).sum()),
    n_controls=int(control_contrasts["n"].min()) if len(control_contrasts) else 0,
    n_classes=int(selective_contrasts["n"].min()) if len(selective_contrasts) else 0,
    n_policies=int(policy_contrasts["n"].min()) if len(policy_contrasts) else 0,
    n_shares=int(share_contrasts["n"].min()) if len(share_contrasts) else 0,
    n_repeats=people["repeat"].nunique() if len(people) else 0,
    n_primary=int(said["primary"]["n"]) if "primary" in said else 0,
    n_sizes=min((row["n"] for row in records), default=0),
    n_choices=int(min((said[name]["n"] for name in said if name.endswith(("_pixels", "_bare"))), default=0)),
)

# %% tags=["remove-cell"]
shown = {kind: f"30 % of people + 70 % {kind}" for kind in ("simulated", "duplicates", "morph", "diffusion")}
shown["alone"] = "simulated alone"
beside_some = [beyond[planned_labels[name]] for name in shown.values() if planned_labels.get(name) in beyond]
gaps = [-row["difference"] for row in beside_some] or [0.0]
glue_values(beside_low=min(gaps), beside_high=max(gaps))
claims = {
    "draft-loss-rises": side["draft_mixed"] == side["draft_duplicates"] == 1,
    "draft-calibrated-falls": side["calibrated_mixed"] == side["calibrated_duplicates"] == -1,
    "draft-accuracy-rises": side["accuracy_mixed"] == side["accuracy_duplicates"] == 1,
    "equal-to-duplicates": all("equivalent" in outcome[f"{name}_control"] for name in ("draft", "calibrated"))
    and side["calibrated_control"] == 1,
    "diffusion-alike": side["draft_diffused"] == 1 and side["calibrated_diffused"] == -1,
    "all-images-best": side["draft_full"] == -1 and median[full] == median.min(),
    "policies-short": all(said[f"{policy}_epochs"]["difference"] > 0 for policy in policies),
    "policies-lower": side["elastic_steps"] == side["randaugment_steps"] == side["autoaugment_steps"] == -1,
    "policies-confident": all(side[f"{policy}_calibrated"] == 1 == -side[f"{policy}_right"] for policy in policies),
    "longer-is-best": side["longer_calibrated"] == -1,
    "steps-suffice": all(side[f"control_{name}"] > -1 for name in ("morph", "duplicate", "diffusion")),
    "labels-matter": side["control_shuffled"] == 1 and said["control_only"]["difference"] < said["control_shuffled"]["difference"] / 2,
} if is_record and (real_frac, generator) == (0.3, "morph") else {}  # fmt: skip

# %% tags=["remove-cell"]
claims |= {
    "shares-raise": all(side[f"share_{share}"] == 1 for share in range(10, 50, 10)),
    "shares-calibrated": all(said[f"share_{share}_calibrated"]["difference"] < 0 for share in range(10, 90, 10)),
    "shares-alike": all(abs(said[f"share_{share}_control"]["percent"]) < 10 for share in range(10, 80, 10))
    and min(said[f"share_{share}_control"]["percent"] for share in (80, 90)) > 0,
    "shares-below-all": swept.groupby("condition")[[loss, calibrated]].median().idxmin().eq(full).all(),
    "tissue-unbeaten": all(one.loc[~one["reference"], "mark"].ne("").all() for one in (scores, network_scores)),
    "networks-alike": {side[f"{kind}_{what}"] for kind, what in product(by_network.index, ("none", "duplicate", "simulated"))} == {0},
    "choices-open": {side[f"{whom}_{what}"] for whom, what in product(("full", "people"), ("pixels", "bare"))} == {0},
    "networks-tissue": network_levels["log_loss"].idxmin() == to_beat,
    "phantom-start": levels[~levels.index.isin(references)].idxmin() == starts["all"][0]
    and {outcome["start_all"], outcome["start_some"]} == {"undecided"}
    and max(said[name]["difference"] for name in ("start_all", "start_some")) < 0
    and abs(levels[starts["some"][0]] - levels[everybody]) < MARGIN,
    "all-beats-shares": beyond[everybody]["outcome"] == "better",
    "some-beat-shares": beyond[sample]["outcome"] == "better"
    and min(gaps) > 0 and "undecided" in {row["outcome"] for row in beside_some},
    "auc-alike": auc[1] - auc[0] < 0.05,
} if claims else {}  # fmt: skip

# %% tags=["remove-cell"]
claims |= {
    "more-people": len(records) > 0 and all(
        row["30 % + simulated"] < row["all"] + 0.01 and more[row["people"]]["difference"] < 0
        for row in records if row["people"] >= 100
    ),
    "little-at-stake": side["people_all"] == 0 > said["people_all"]["difference"] > -MARGIN,
    "planned-equivalent": {outcome[name] for name in ("morph", "simulated", "simulated_all")} == {"equivalent"},
    "planned-undecided": {outcome[name] for name in ("primary", "alone_all")} == {"undecided"}
    and said["primary"]["n"] == {part.name: part.n_simulations for part in record_parts()}["generative"],
} if claims else {}  # fmt: skip
glue_values(**{f"claim_{name}": "holds" if true else "fails" for name, true in claims.items()})

# %% tags=["hide-input"]
questions = {
    "primary": "Diffusion against duplicates, 30 % of the people (primary)",
    "simulated": "Simulated people against duplicates",
    "morph": "Deformation against duplicates",
    "simulated_all": "30 % of the people with simulated ones against all real people",
    "alone_all": "Simulated people alone against all real people",
    "draft_mixed": f"The draft's gain: {generator} images beside {x} of the images against these alone, at equal epochs",
    "draft_control": f"The same {generator} images against duplicates",
}
table = pd.DataFrame(
    {"question": text, "difference": difference_text(said[name]), "n": said[name]["n"], "outcome": outcome[name]}
    for name, text in questions.items()
    if name in said
)
numbered_table(table, "What was asked, and what the record says so far.", "tab-settled")
