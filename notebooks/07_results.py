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
# When real images are scarce, do synthetic ones train a better classifier than the real ones alone, than duplicates of
# them, than longer training, and than traditional augmentation? Every number on this page was computed by the code in it.

# %% tags=["parameters"]
dataset: str = "phantom"  # "phantom", a hub id, or a folder
class_names: str = ""  # its classes from least to most severe, as "CN,MCI,AD"; empty: the thesis's four
subjects: str = ""  # its people: a pattern of file names, a column or a table; empty: found by themselves
n_subjects: int = 22  # people in the study; 0 is everyone
real_frac: float = 0.3  # X: share of the training images that is real, in (0, 1)
generator: str = "morph"  # makes the synthetic images; a name of mri_aug.generators
generator_options: dict = {}  # of the generator, where they are not its defaults
n_simulations: int = 5  # repetitions of the thesis's own comparison, under both protocols
n_side_simulations: int = 1  # of the policies, controls, filters, classes and the sweep
n_network_simulations: int = 1  # of the larger networks
policies: list = ["traditional", "elastic", "autoaugment"]  # names of mri_aug.policies
sweep: list = [0.1, 0.6]  # real shares, besides real_frac and 1
architectures: list = ["resnet18", "vit_tiny"]  # networks trained from random weights
pretrained: list = []  # networks started from ImageNet's weights, which are downloaded
network_controls: bool = False  # also run the controls on the larger networks
side_protocols: list = ["image"]  # of all but the thesis's own comparison; figures show the first
epochs: int = 3  # passes over the training images
seed: int = 0

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from mri_aug import provenance
from mri_aug.book import figures
from mri_aug.book.report import PAGE_WIDTH, glue_values, numbered_table, use_book_style
from mri_aug.data.loading import load_images
from mri_aug.generators.bank import study_generators
from mri_aug.models.training import TrainConfig
from mri_aug.results.comparison import compare, summarise
from mri_aug.results.contrasts import DRAFT
from mri_aug.results.deposit import deposit_names, load_deposit
from mri_aug.results.inference import MIN_SIMULATIONS
from mri_aug.results.people import person_scores, scores_in, summarise_people

# %% tags=["hide-input"]
from mri_aug.results.tables import (
    agreement,
    arm_words,
    contrast_table,
    estimate_text,
    paired_groups,
    protocol_table,
    recalls,
    sentence,
    sweep_curves,
    tally,
    verdict,
    yardstick_sentences,
)
from mri_aug.study import conditions
from mri_aug.study.parts import chapter_parts, listed_conditions
from mri_aug.study.run import check_conditions, run_study
from mri_aug.study.store import Store

use_book_style()
image_set = load_images(
    dataset, class_names=class_names or None, subjects=subjects or None, n_subjects=n_subjects or None, seed=seed
)

# %% [markdown]
# The study has parts, each with its own question and its own number of simulations. Simulations that are in the store already are read, the
# others are run now, on all cores. Parts share conditions, and the store pays for each once.

# %%
parts = chapter_parts(
    real_frac,
    generator=generator,
    n_simulations=n_simulations,
    n_side_simulations=n_side_simulations,
    n_network_simulations=n_network_simulations,
    policies=policies,
    sweep=sweep,
    architectures=architectures,
    pretrained=pretrained,
    network_controls=network_controls,
    side_protocols=side_protocols,
)

# %%
store, config = Store(provenance.artifacts("store.sqlite")), TrainConfig(epochs=epochs)
given = study_generators(generator, generator_options)  # what costs money comes from the bank, and from nowhere else
check_conditions(listed_conditions(parts), image_set, given)  # a misspelt name is told now, not after hours
options = {"seed": seed, "store": store, "config": config, "generators": given}
study = {
    part.name: run_study(part.conditions, image_set, n_simulations=part.n_simulations, **options) for part in parts
}

# %% tags=["hide-input"]
rows = pd.concat(study.values()).drop_duplicates("key", ignore_index=True)
words = arm_words(rows, class_names=image_set.class_names)
arms = [arm.label for arm in conditions.thesis_arms(real_frac, generator=generator)]
real, full, mixed, duplicate, longer = arms
main, side = study["cnn"], side_protocols[0]
by_protocol = {protocol: part for protocol, part in main.groupby("protocol")}
image_rows, subject_rows = by_protocol["image"], by_protocol["subject"]
ends = ["" if protocol == "image" else f"-{protocol}" for protocol in side_protocols]
side_names = ("policies", "controls", "filters", "classes", "sweep")
of = {name: pd.concat([study[name + end] for end in ends], ignore_index=True) for name in side_names}
metric = "test_cross_entropy"
x, y = (f"{100 * share:.4g}\N{NO-BREAK SPACE}%" for share in (real_frac, 1 - real_frac))
draft = dict(zip((real, full, mixed), DRAFT.values(), strict=True)) if real_frac == 0.3 else {full: DRAFT["all real"]}

# %% tags=["remove-cell"]
first = image_rows[image_rows["condition"] == full].iloc[0]
sizes = {
    "the thesis's comparison": n_simulations,
    "the side questions": n_side_simulations,
    "the larger networks": n_network_simulations,
}
few = [f"{name} ({n})" for name, n in sizes.items() if n < MIN_SIMULATIONS]
glue_values(
    dataset_name="phantoms" if dataset == "phantom" else dataset.rstrip("/").split("/")[-1],
    study_people=len(image_set.subjects.unique()),
    n_simulations=n_simulations,
    n_side_simulations=n_side_simulations,
    n_network_simulations=n_network_simulations,
    n_conditions=len(rows.drop_duplicates(["condition", "protocol"])),
    n_rows=len(rows),
    study_epochs=epochs,
    study_train=int(first["n_train"]),
    study_test=int(first["n_test"]),
    core_hours=float(rows["seconds"].sum() / 3600),
    real_frac_percent=f"{100 * real_frac:.4g}",
    synth_frac_percent=f"{100 * (1 - real_frac):.4g}",
    side_protocol=side,
)

# %% tags=["remove-cell"]
glue_values(
    too_few=""
    if n_simulations >= 20
    else f"With {n_simulations} simulations per condition, intervals are wide, and "
    "what is undecided here may be decided by more: the profile called thesis runs 100, as the draft did.",
    too_few_parts=""
    if not few
    else f"Fewer than ten simulations decide nothing: {' and '.join([', '.join(few[:-1]), few[-1]] if few[1:] else few)} had fewer in this copy, and "
    "have ranges instead of intervals.",
)

# %% [markdown]
# This copy of the book ran {glue:text}`n_conditions:d` conditions on {glue:text}`dataset_name:s` of
# {glue:text}`study_people:d` people: at full size {glue:text}`study_train:d` training and
# {glue:text}`study_test:d` test images, {glue:text}`study_epochs:d` epochs, {glue:text}`n_rows:d` simulations,
# {glue:text}`core_hours:.2f` hours of one core in all. The thesis's own comparison had
# {glue:text}`n_simulations:d` simulations of each condition, the side questions {glue:text}`n_side_simulations:d`, the larger
# networks {glue:text}`n_network_simulations:d`. {glue:text}`too_few:s` {glue:text}`too_few_parts:s`
#
# Losses are compared as ratios, by the mean of their logarithms over simulations, and each person's loss under the subject protocol as a difference
# in nats. An arm is called *better* or *worse* where the 95 % interval leaves out zero, *equivalent* where the interval lies inside a margin (10 % of a
# loss, 0.05 nats per person), and *undecided* where neither is so. Fewer than ten simulations have a range, from the least to the greatest, and no verdict.
# Under the image protocol the interval covers what other splits, samples and initial weights would give; under the subject protocol it covers other
# people, too. No interval is adjusted, so that about one in twenty comparisons of equals will be called a difference. The p values in the tables ask about
# other images: they allow for training sets that overlap ({cite:p}`nadeau2003inference`), and are adjusted for the number of comparisons in the same table and
# protocol, but for the primary contrast, the mixed set against its real sample.
#
# ## CNN Results
#
# The draft reports one comparison with figures: the convolutional network on 30 % of the real images,
# on all of them, and on 30 % filled up to full size with synthetic ones, at equal epochs and under the
# image protocol. {numref}`fig-by-simulation` repeats it with {glue:text}`real_frac_percent:s` % of the images of this run.

# %% mystnb={"figure": {"caption": "Test cross-entropy of every simulation (image protocol, equal epochs), joined across the training sets: points of one simulation share their split, their sample and their initial weights. Above them the medians with their intervals; crosses are the draft's medians of 100 simulations on its own images.", "name": "fig-by-simulation"}, "image": {"alt": "Test cross-entropy of every simulation (image protocol, equal epochs) and the medians with their intervals"}} tags=["hide-input"]
summaries = {protocol: summarise(part, metric) for protocol, part in by_protocol.items()}
table = summaries["image"].assign(value=summaries["image"]["median"], draft=summaries["image"]["condition"].map(draft))
points, loss_label = image_rows.assign(value=image_rows[metric]), "Test cross-entropy"
_ = figures.plot_forest(table, points=points, order=[real, full, mixed], labels=words, x_label=loss_label)

# %% tags=["hide-input"]
numbered_table(
    protocol_table(main, arms, measures={metric: "loss"}, words=words, draft=draft),
    f"Median test cross-entropy over {n_simulations} simulations with its 95 % interval under both protocols, beside the draft's "
    "medians of 100 simulations (validation cross-entropy on the thesis's dataset, image protocol).",
    "tab-cross-entropy",
)

# %% tags=["remove-cell"]
tested = {"image": "On other slices of known people,", "subject": "On people never seen,"}
against = {
    protocol: paired_groups(part, metric, baseline=real, primary=mixed).set_index("condition", drop=False)
    for protocol, part in by_protocol.items()
}
against_copies = compare(image_rows, metric, baseline=duplicate).set_index("condition")
against_longer = compare(image_rows, metric, baseline=longer).set_index("condition")
filled, alone = f"filling {x} real images up with {y} synthetic ones", f"the {x} real images alone"
medians = {protocol: summary.set_index("condition")["median"] for protocol, summary in summaries.items()}
glue_values(
    sentence_headline=sentence(against["image"].loc[mixed], condition=filled, baseline=alone),
    sentence_duplicate=sentence(
        against_copies.loc[mixed], condition=filled, baseline="filling up with duplicates of the real ones"
    ),
    sentence_steps=sentence(against_longer.loc[mixed], condition=filled, baseline=f"{alone} for as many steps"),
    sentence_subject=sentence(against["subject"].loc[mixed], condition=filled, baseline=alone),
    sentence_full=sentence(against["image"].loc[full], condition="training on all real images", baseline=alone),
    yardstick=yardstick_sentences(main, arms, names=tested),
    ce_real=medians["image"][real],
    ce_full=medians["image"][full],
    ce_mix=medians["image"][mixed],
    ce_duplicate=medians["image"][duplicate],
    ce_full_subject=medians["subject"][full],
)

# %% [markdown]
# At equal epochs and under the image protocol: {glue:text}`sentence_full:s` {glue:text}`sentence_headline:s`
# {numref}`tab-cross-entropy` puts these medians beside the draft's and beside those of the controls. The draft's figures come from
# other images, another generator and settings that it does not state, so it is the *order* of the arms that can be compared, not the
# third decimal.
#
# Before arms are compared with each other, each has to pass the line that {numref}`Chapter %s <ch-training>` drew: does it know more than
# how frequent the classes are? {glue:text}`yardstick:s` Between two arms that fail it, the one of lower loss is less sure of its errors, and sees no more.
#
# ## Traditional policies
#
# The draft found that its networks did better with synthetic images than with traditional augmentation of the same real sample (its figure 7.2). A policy adds
# no steps, so {numref}`fig-policies-compared` shows each policy twice: for the epochs of the sample, as in the draft, and for as many steps as
# the mixed set.

# %% mystnb={"figure": {"caption": "Augmentation policies on the real sample, at its epochs and at the full set's steps: every simulation, median and 95 % interval (a range below ten simulations); crosses are the draft's medians for its own images.", "name": "fig-policies-compared"}, "image": {"alt": "Augmentation policies on the real sample, at its epochs and at the full set's steps"}} tags=["hide-input"]
policy_labels = [arm.label for arm in conditions.policy_arms(real_frac, policies)]
at_epochs, at_steps = policy_labels[: len(policies)], policy_labels[len(policies) :]
order = [real, *at_epochs, longer, *at_steps, duplicate, mixed]
part = of["policies"][of["policies"]["protocol"] == side]
table = summarise(part, metric).rename(columns={"median": "value"})
table, points = table.assign(draft=table["condition"].map(draft)), part.assign(value=part[metric])
_ = figures.plot_forest(table, points=points, order=order, labels=words, x_label=loss_label)

# %% tags=["hide-input"]
tried = of["policies"][of["policies"]["condition"].isin([*policy_labels, mixed])]
contrasts = paired_groups(tried, metric, baseline=mixed)
caption = f"Policies on {x} of the real images against the mixed set: paired difference in test cross-entropy with its 95 % interval."
numbered_table(contrast_table(contrasts, words=words), caption, "tab-policies-compared")

# %% tags=["remove-cell"]
shown = contrasts[contrasts["protocol"] == side]
own = [
    paired_groups(part[part["condition"].isin([base, *labels])], metric, baseline=base)
    for base, labels in ((real, at_epochs), (longer, at_steps))
]
glue_values(
    sentence_policies=tally(
        shown, things="combinations of a policy and a number of steps", baseline="the mixed set", names=words
    ),
    policies_epochs=tally(
        own[0],
        things="policies at the sample's epochs",
        baseline=alone,
        names=dict(zip(at_epochs, policies, strict=True)),
    ),
    policies_steps=tally(
        own[1],
        things="policies at the full set's steps",
        baseline=f"{alone} for as many steps",
        names=dict(zip(at_steps, policies, strict=True)),
    ),
)

# %% [markdown]
# Against the mixed set: {glue:text}`sentence_policies:s` Against no policy: {glue:text}`policies_epochs:s` {glue:text}`policies_steps:s`
# Every policy of {numref}`tab-policies` is compared on the thesis's images [below](sec-deposit).
#
# ## What the controls say
#
# A mixed set is larger than its real sample and trains for more steps, and so do its controls. All of them take as many steps as the full set;
# what they take away, or put in the place of the synthetic images, is each time another explanation of a gain:
#
# - duplicates, in the number of the variations: is it only more images?
# - the real sample alone, for as many steps: is it only more training?
# - the real sample with its classes drawn equally often, or with the loss weighed by class: is it only balance?
# - variations whose labels are shuffled among them: is it only that the network sees more brains, whatever they are called?
# - the variations alone: do they stand for the sample that they were made from?
# - the variations first and the real sample afterwards: does it matter that both are seen together?
#
# {numref}`fig-controls` holds them against the real sample for as many steps, so that a difference is due to what is seen and not to how long.

# %% mystnb={"figure": {"caption": "Paired difference in test cross-entropy from the real sample trained for as many steps: median and 95 % interval, and in how many simulations the arm is the better one. The first two rows are no controls: they are the sample at its own epochs, and all real images.", "name": "fig-controls"}, "image": {"alt": "Paired difference in test cross-entropy of all controls from the real sample trained for as many steps"}} tags=["hide-input"]
controls = [arm.label for arm in conditions.control_arms(real_frac, generator=generator)]
order = [real, full, *(label for label in controls if label != longer)]
contrasts = paired_groups(of["controls"], metric, baseline=longer)
table = figures.differences(contrasts[contrasts["protocol"] == side]).drop(columns="group")
label = f"Test cross-entropy against {words[longer]} (%)"
_ = figures.plot_forest(table, order=order, labels=words, lines={"": 0}, better="left", x_label=label)

# %% tags=["hide-input"]
caption = f"Every control against {x} of the real images trained for as many steps: paired difference in test cross-entropy with its 95 % interval."
numbered_table(contrast_table(contrasts, words=words), caption, "tab-controls")

# %% tags=["remove-cell"]
gains = {
    "better": "so the variations carry something that neither more images nor more steps explain",
    "worse": "so what the mixed set gains over the small sample is due to count and steps, and the variations cost some of it",
    "undecided": "so whatever the mixed set gains over the small sample cannot be credited to the variations themselves",
}
no_gain = "and the mixed set as a whole shows no decided gain over the small sample"
found = verdict(against_copies.loc[mixed])
reading = gains[found] if verdict(against["image"].loc[mixed]) == "better" else no_gain
stated = {"better": "lower than", "worse": "higher than", "undecided": "not distinguishable from"}[found]
part = of["controls"][(of["controls"]["protocol"] == side) & of["controls"]["condition"].isin(controls)]
others = paired_groups(part, metric, baseline=mixed)
glue_values(
    control_verdict=f"In short, the loss with variations is {stated} the loss with duplicates, {reading}.",
    sentence_controls=tally(others, things="controls", baseline="the mixed set", names=words),
)

# %% [markdown]
# The two controls that matter most had as many simulations as the comparison itself. Against duplicates: {glue:text}`sentence_duplicate:s`
# Against longer training: {glue:text}`sentence_steps:s` {glue:text}`control_verdict:s`
#
# Seen from the mixed set: {glue:text}`sentence_controls:s`
#
# ## Selective augmentation
#
# The rarest class is the one that a physician must not miss. {glue:text}`rare_words:s` Here variations go to the rare classes alone,
# each filled up to the number that it has in the full set, and every arm trains for the full set's steps. What to look at is the
# recall of the class that was filled up ({numref}`fig-selective`), and the loss ({numref}`tab-selective`), which the common classes dominate.

# %% mystnb={"figure": {"caption": "Selective augmentation: the share of each class's test images that is recognised, median over simulations and 95 % interval (ranges below ten simulations).", "name": "fig-selective"}, "image": {"alt": "Recall of each class under selective augmentation"}} tags=["hide-input"]
selected = [arm.label for arm in conditions.selective_arms(real_frac, generator=generator)]
part = of["classes"][of["classes"]["protocol"] == side]
recall = recalls(part[part["condition"].isin([*selected, mixed])], image_set.class_names)
_ = figures.plot_forest(recall, order=[*selected, mixed], labels=words, x_label="Recall on the test part")

# %% tags=["hide-input"]
chosen = of["classes"][of["classes"]["condition"].isin([*selected, mixed])]
table = contrast_table(paired_groups(chosen, metric, baseline=longer), words=words)
caption = "Selective augmentation against the real sample trained for as many steps: paired difference in test cross-entropy with its 95 % interval."
numbered_table(table, caption, "tab-selective")

# %% tags=["remove-cell"]
_, mild_filled, moderate_filled, both_filled, both_copied = selected
pair = part[part["condition"].isin(selected)]
said = {
    label: sentence(
        compare(pair, f"test_recall_{label}", baseline=longer).set_index("condition").loc[condition],
        condition=f"filling {image_set.class_names[label]} up",
        baseline="the real sample for as many steps",
        metric=f"recall of {image_set.class_names[label]}",
    )
    for label, condition in ((2, mild_filled), (3, moderate_filled))
}
rare = image_set.labels == 3
both = compare(pair, metric, baseline=both_copied).set_index("condition").loc[both_filled]
glue_values(
    rare_words=f"Of {image_set.class_names[3]} there are {int(rare.sum())} images in all, of {len(image_set.subjects[rare].unique())} "
    "people. Under the image protocol a fifth of these images is tested, under the subject protocol one of the people at most: a recall that rests on so few moves in large steps.",
    sentence_selective=" ".join(said.values()),
    selective_copies=sentence(
        both, condition="filling both classes up with variations", baseline="filling both up with duplicates"
    ),
)

# %% [markdown]
# {glue:text}`sentence_selective:s` Whether this is owed to the variations or to the balance of classes is again for duplicates to show:
# {glue:text}`selective_copies:s`
#
# ## From few real images to all
#
# The draft's advantage of the mixed set at 30 % was gone at 40 to 80 %. {numref}`fig-sweep` varies the real share; the arm that is filled up always has
# the size of the full set, and the real sample alone its own epochs.

# %% mystnb={"figure": {"caption": "Median test cross-entropy against the share of real images: alone, filled up to full size with variations, and filled up with duplicates. Bars are 95 % intervals (ranges below ten simulations).", "name": "fig-sweep"}, "image": {"alt": "Test cross-entropy against the share of real images, alone and filled up"}} tags=["hide-input"]
swept = of["sweep"]
curves = sweep_curves(swept[swept["protocol"] == side], metric)
columns = ["real_frac", "value", "low", "high"]
curves = {group: (part[columns].to_numpy() * (100, 1, 1, 1)).T for group, part in curves.groupby("group", sort=False)}
_ = figures.plot_curves(curves, x_label="Real share of the training images (%)", y_label=loss_label).set(xlim=(0, 104))

# %% tags=["hide-input"]
by_share = [part for share, part in swept.groupby("real_frac") if share < 1]
bases = [{kind: group["condition"].iloc[0] for kind, group in part.groupby("generator")} for part in by_share]
over_alone = pd.concat(
    [paired_groups(part, metric, baseline=base["none"]) for part, base in zip(by_share, bases, strict=True)]
)
over_copies = pd.concat(
    [
        paired_groups(part[part["generator"] != "none"], metric, baseline=base["duplicate"])
        for part, base in zip(by_share, bases, strict=True)
    ]
)
table = contrast_table(pd.concat([over_alone, over_copies]), words=words).drop(columns="p")
numbered_table(table, "The sweep: paired differences in test cross-entropy with their 95 % intervals.", "tab-sweep")

# %% tags=["remove-cell"]
shares = {
    base[generator]: f"{100 * part['real_frac'].iloc[0]:.4g} %" for part, base in zip(by_share, bases, strict=True)
}
at_side = {name: table[(table["protocol"] == side) & table["condition"].isin(shares)]
           for name, table in (("alone", over_alone), ("copies", over_copies))}  # fmt: skip
glue_values(
    sentence_sweep=tally(
        at_side["alone"], things="real shares filled up with variations", baseline="the real images alone", names=shares
    ),
    sweep_copies=tally(
        at_side["copies"],
        things="real shares filled up with variations",
        baseline="filling up with duplicates",
        names=shares,
    ),
)

# %% [markdown]
# {glue:text}`sentence_sweep:s` {glue:text}`sweep_copies:s`
#
# ## Filters
#
# {numref}`Chapter %s <ch-methodology>` describes two filters: one drops variations that are too close to a real image, the other those in which a
# classifier does not recognise the label. A filtered arm has fewer images, and trains for the full set's steps all the same. {numref}`tab-filters` compares
# both with the unfiltered mixed set.

# %% tags=["hide-input"]
filters = [arm.label for arm in conditions.filter_arms(real_frac, generator=generator)]
part = of["filters"][of["filters"]["condition"].isin(filters)]
dropped = 100 * part["n_filtered"] / (part["n_filtered"] + part["n_synthetic"])
table = contrast_table(contrasts := paired_groups(part, metric, baseline=mixed), words=words)
share = dropped.groupby([part["protocol"], part["condition"]]).median()
table.insert(1, "dropped, %", [share[row.protocol, row.condition] for row in contrasts.itertuples()])
caption = "Filtered variations against all of them: the share that is dropped (median), and the paired difference in test cross-entropy with its 95 % interval."
numbered_table(table, caption, "tab-filters", formats={"dropped, %": ".1f"})

# %% tags=["remove-cell"]
shown = contrasts[contrasts["protocol"] == side]
glue_values(sentence_filters=tally(shown, things="filters", baseline="the unfiltered mixed set", names=words))

# %% [markdown]
# {glue:text}`sentence_filters:s`
#
# ## ResNet-18 and the vision transformer
#
# The thesis names two further networks and its draft reports no figure for either. {numref}`tab-networks` gives the level of each beside the CNN's, and
# {numref}`fig-networks` the difference that synthetic images make to it. Networks of their size are
# usually started from weights learnt elsewhere. From random ones, {glue:text}`study_epochs:d` epochs on so few images are a short training, and what the
# levels say about an architecture they say at this size only.

# %% tags=["hide-input"]
larger = [part for part in parts if part.conditions[0].architecture != "cnn"]
cnn = study["cnn" if side == "image" else f"controls-{side}"]
cnn = cnn[(cnn["protocol"] == side) & (cnn["simulation"] < max(n_network_simulations, 1)) & cnn["condition"].isin(arms)]
tables = {"cnn": cnn, **{part.name: study[part.name] for part in larger}}
levels = pd.concat(tables.values(), ignore_index=True)
order = list(dict.fromkeys(levels["condition"]))
table = protocol_table(levels, order, measures={metric: "loss", "test_accuracy": "accuracy, %"}, words=words)
caption = f"The networks: medians over {n_network_simulations} simulation{'s' * (n_network_simulations > 1)}, with 95 % intervals (ranges below ten simulations)."
numbered_table(table, caption, "tab-networks")

# %% mystnb={"figure": {"caption": "What each network makes of the other training sets, against its own real sample alone: paired difference in test cross-entropy (less is better), median and 95 % interval (a range below ten simulations).", "name": "fig-networks"}, "image": {"alt": "Paired difference in test cross-entropy from the real sample alone for each network"}} tags=["hide-input"]
baselines = {name: table["condition"].iloc[0] for name, table in tables.items()}
of_networks = pd.concat([paired_groups(tables[name], metric, baseline=base) for name, base in baselines.items()])
label = "Test cross-entropy against the network's real sample (%)"
_ = figures.plot_forest(figures.differences(of_networks), labels=words, lines={"": 0}, better="left", x_label=label)

# %% tags=["hide-input"]
caption = "The networks: paired difference in test cross-entropy from the same network's real sample alone, with its 95 % interval."
numbered_table(contrast_table(of_networks, words=words).drop(columns="p"), caption, "tab-networks-compared")

# %% tags=["remove-cell"]
filled_up = {table.loc[table["generator"] == generator, "condition"].iloc[0] for table in tables.values()}
compared = of_networks[of_networks["condition"].isin(filled_up) & (of_networks["protocol"] == side)]
rates = levels.drop_duplicates("architecture").set_index("architecture")["learning_rate"]
glue_values(
    network_rates=", ".join(f"{rate:g} for {name}" for name, rate in rates.items()),
    sentence_networks=tally(
        compared, things="networks on the mixed set", baseline="the same network's real sample alone", names=words
    ),
)

# %% [markdown]
# {glue:text}`sentence_networks:s` The one-cycle learning rate peaks where each learns well: at {glue:text}`network_rates:s`.
#
# ## People who were never seen
#
# Under the image protocol the network is tested on people whom it has trained on. Under the subject protocol it is not, and the median loss of the CNN trained on
# all real images is {glue:text}`ce_full_subject:.3f` instead of {glue:text}`ce_full:.3f`. {numref}`fig-subject` shows all arms.
# {glue:text}`sentence_subject:s`

# %% mystnb={"figure": {"caption": "The thesis's arms and controls under the subject protocol, where no person is in two parts: test cross-entropy of every simulation, median and 95 % interval.", "name": "fig-subject"}, "image": {"alt": "The thesis's arms and controls under the subject protocol, where no person is in two parts"}} tags=["hide-input"]
table, points = (
    summaries["subject"].rename(columns={"median": "value"}),
    subject_rows.assign(value=subject_rows[metric]),
)
_ = figures.plot_forest(table, points=points, order=arms, labels=words, x_label=loss_label)

# %% tags=["hide-input"]
scores = summarise_people(person_scores(subject_rows, scores_in(subject_rows)[-1])).set_index("condition").loc[arms]
wide = scores[["auc", "kappa", "accuracy"]].reset_index()
wide.insert(
    1, "loss", [estimate_text(row.log_loss, row.low, row.high, method=row.method) for row in scores.itertuples()]
)
wide["condition"] = wide["condition"].map(words)
wide.columns = ["training set", "log loss per person", "area under the curve", "kappa", "accuracy"]
caption = "Subject protocol, per person: log loss with its 95 % interval over people and simulations, area under the curve of demented against not, quadratic weighted kappa, accuracy."
numbered_table(wide, caption, "tab-subject")

# %% [markdown]
# The intervals of {numref}`tab-subject` answer a harder question than those above: how much would the figure change with *other people*? Slices of one person
# rise and fall together, so the number of people, not of images, sets their width.
#
# ## Other measures
#
# Cross-entropy punishes confidence in the wrong class without limit, and a network may be more often right and yet have the higher loss.
# {numref}`tab-measures` holds the other measures. {glue:text}`sentence_accuracy:s`

# %% tags=["hide-input"]
measures = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "kappa": "kappa",
    "Brier": "brier",
    "ECE": "ece",
}
table = main.groupby(["protocol", "condition"])[[f"test_{column}" for column in measures.values()]].median()
table = table.loc[[(protocol, arm) for protocol in by_protocol for arm in arms]].reset_index()
table["condition"] = table["condition"].map(words)
table.columns = ["protocol", "training set", *measures]
caption = f"Medians over {n_simulations} simulations of the measures per image on the test part."
numbered_table(table, caption, "tab-measures")

# %% tags=["remove-cell"]
accuracy = compare(image_rows, "test_accuracy", baseline=real, primary=mixed).set_index("condition").loc[mixed]
glue_values(sentence_accuracy=sentence(accuracy, condition=filled, baseline=alone))

# %% [markdown]
# (sec-deposit)=
# ## On the thesis's images
#
# So that every copy of this book can be read beside the thesis, tables of studies on the thesis's own dataset are part of the repository,
# each with a manifest of what made it.
#
# ### The thesis's comparison
#
# {glue:text}`deposit_words:s`

# %% tags=["hide-input"]
deposit, made = load_deposit("alzheimer_mri")
kept_arms = [arm.label for arm in conditions.thesis_arms(made["real_frac"])]
kept_words = arm_words(deposit)
deposit = deposit[deposit["condition"].isin(kept_arms)]
kept = {protocol: part for protocol, part in deposit.groupby("protocol")}
numbered_table(
    protocol_table(deposit, kept_arms, measures={metric: "loss", "test_accuracy": "accuracy, %"}, words=kept_words,
                   draft=dict(zip(kept_arms[:3], DRAFT.values(), strict=True))),
    f"The thesis's dataset: median test cross-entropy and accuracy with their 95 % intervals, {made['n_simulations']} simulations, {made['epochs']} epochs.",
    "tab-deposit",
)  # fmt: skip

# %% tags=["remove-cell"]
kept_real, _, kept_mixed, kept_copies, kept_longer = kept_arms
contrasts = {
    "alone": compare(kept["image"], metric, baseline=kept_real, primary=kept_mixed),
    "copies": compare(kept["image"], metric, baseline=kept_copies),
    "longer": compare(kept["image"], metric, baseline=kept_longer),
    "people": paired_groups(kept["subject"], metric, baseline=kept_real, primary=kept_mixed),
    "accuracy": compare(kept["image"], "test_accuracy", baseline=kept_real, primary=kept_mixed),
}
share = kept_words[kept_real]
named = {
    "alone": f"the {share} alone",
    "copies": "filling up with duplicates",
    "longer": f"the {share} for as many steps",
    "people": f"the {share} alone",
    "accuracy": f"the {share} alone",
}
said = {
    name: sentence(
        table.set_index("condition", drop=False).loc[kept_mixed],
        condition=f"filling {share} up with variations",
        baseline=named[name],
    )
    for name, table in contrasts.items()
}

# %% tags=["remove-cell"]
glue_values(
    deposit_words=f"The first was computed on {made['n_images']:,} images ({made['dataset']}) with {made['n_simulations']} simulations of each condition and "
    f"{made['epochs']} epochs, in {made['core_hours']:.1f} hours of one core ({made['machine']['processor']}, {made['machine']['cores']} cores, {made['date']}). {made.get('note', '')}",
    deposit_yardstick=yardstick_sentences(deposit, kept_arms, names=tested),
    **{f"deposit_{name}": text for name, text in said.items()},
)

# %% [markdown]
# Under the image protocol: {glue:text}`deposit_alone:s` {glue:text}`deposit_copies:s` {glue:text}`deposit_longer:s` On people never seen:
# {glue:text}`deposit_people:s`
#
# Loss and accuracy may part: a network that trains for longer on few images grows surer of itself, also where it errs. {glue:text}`deposit_accuracy:s`
#
# {glue:text}`deposit_yardstick:s`
#
# {numref}`tab-deposit` holds the medians beside the draft's, whose synthetic images came from DALL·E 2.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The thesis's dataset, both protocols: paired difference in test cross-entropy of every arm from the real sample alone, with 95 % intervals (upper panel: image protocol, over simulations; lower panel: subject protocol).", "name": "fig-deposit"}, "image": {"alt": "Forest plots of the paired differences on the thesis's dataset under both protocols"}}
figure, axes = plt.subplots(2, 1, figsize=(PAGE_WIDTH, 6))
for name, ax in zip(("alone", "people"), axes, strict=True):
    table, label = figures.differences(contrasts[name]), f"Test cross-entropy against {named[name]} (%)"
    figures.plot_forest(
        table, order=kept_arms[1:], labels=kept_words, lines={"": 0}, better="left", x_label=label, ax=ax
    )
_ = figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

# %% [markdown]
# ### Every policy
#
# {glue:text}`deposit_policies_words:s` {numref}`tab-deposit-policies` holds each policy on the real sample alone, for the epochs of that sample,
# under both protocols.

# %% tags=["hide-input"]
there = "alzheimer_mri_policies" in deposit_names()
many, how = load_deposit("alzheimer_mri_policies") if there else (deposit, made)
plain = many[(many["generator"] == "none") & (many["budget"] == "epochs") & (many["real_frac"] == how["real_frac"])]
differences = paired_groups(plain, metric, baseline="none", by="policy") if there else pd.DataFrame()
ranked = list(differences.sort_values(["protocol", "value"])["condition"].unique()) if there else []
numbered_table(
    protocol_table(
        plain, ["none", *ranked], measures={metric: "loss", "test_accuracy": "accuracy, %"}, words={}, by="policy"
    ).rename(columns={"training set": "policy"}),
    f"The thesis's dataset, {100 * how['real_frac']:.4g} % of the real images: median test cross-entropy and accuracy of every policy with their 95 % "
    "intervals, in the order of the loss against no policy under the image protocol.",
    "tab-deposit-policies",
)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The thesis's dataset: what each policy does to the test cross-entropy of the same real sample without a policy, under both protocols. Paired difference with its 95 % interval.", "name": "fig-deposit-policies"}, "image": {"alt": "Paired difference in test cross-entropy of every policy from no policy, under both protocols"}}
label, zero = "Test cross-entropy against no policy (%)", {"": 0}
table = figures.differences(differences) if there else None
_ = figures.plot_forest(table, order=ranked, lines=zero, better="left", x_label=label) if there else None

# %% tags=["remove-cell"]
accuracies = paired_groups(plain, "test_accuracy", baseline="none", by="policy") if there else pd.DataFrame()
measured = {"loss": differences, "accuracy": accuracies}
by_both = {
    (name, protocol): tally(part, things="policies", baseline="no policy")
    for name, table in measured.items() if there
    for protocol, part in table.groupby("protocol")
}  # fmt: skip
per_condition = plain.groupby(["protocol", "policy"]).size()
absent = "The table of all policies is not there, so that only the sample without a policy is shown."
glue_values(
    deposit_policies_words=f"The second was computed on {how['dataset']} with {per_condition.min()} simulations of each condition and {how['epochs']} epochs "
    f"({how['date']})." if there else absent,
    policies_image=f"On other slices of people who were trained on: {by_both['loss', 'image']} {by_both['accuracy', 'image']}" if there else "",
    policies_subject=f"On people never seen: {by_both['loss', 'subject']} {by_both['accuracy', 'subject']}" if there else "",
    policies_agree=agreement(differences, things="policies") if there else "",
)  # fmt: skip

# %% [markdown]
# {glue:text}`policies_image:s`
#
# {glue:text}`policies_subject:s`
#
# {glue:text}`policies_agree:s`

# %% [markdown]
# ## The answer
#
# Four questions stand between "the mixed set has a lower loss" and "synthetic images help". {numref}`tab-answer` answers each from the intervals
# above: *yes* or *no* where the interval of the paired difference leaves out zero.

# %% tags=["hide-input"]
questions = {
    "Is it better than the real sample alone?": against["image"].loc[mixed],
    "Is it better than duplicates in place of variations?": against_copies.loc[mixed],
    "Is it better than the real sample trained for as long?": against_longer.loc[mixed],
    "Is it better than the real sample alone, on people never seen?": against["subject"].loc[mixed],
}
answers = {"better": "yes", "worse": "no, worse"}
asked = pd.DataFrame(list(questions.values())).assign(condition=list(questions), baseline="", protocol="")
table = contrast_table(asked, words={})
table["outcome"] = [answers.get(outcome.split(",")[0], outcome) for outcome in table["outcome"]]
table = table.drop(columns="p").rename(columns={"training set": "the mixed set", "outcome": "answer"})
caption = f"The mixed set of {x} real and {y} synthetic images: paired difference in test cross-entropy over {n_simulations} simulations, with its 95 % interval, in the last row over people, too."
numbered_table(table, caption, "tab-answer")

# %% tags=["hide-input"]
assert len(main) == len(parts[0].conditions) * n_simulations
assert rows.groupby("simulation")["seed_split"].nunique().eq(1).all()
assert (
    main.loc[main["condition"] == mixed, "n_train"].eq(main.loc[main["condition"] == full, "n_train"].to_numpy()).all()
)
