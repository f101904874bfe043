"""The small tables of the record: what chapters 2 and 3 and appendices A and C say of the thesis's own images.

Each is a parquet file in ``results/record``, and ``tables.json`` says what made it: numbers about people, never a pixel
of one. The simulations of chapter 7 lie beside them (:mod:`mri_aug.results.deposit`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mri_aug import provenance
from mri_aug.data.imageset import ImageSet
from mri_aug.data.people import audit_split, recover_subjects
from mri_aug.data.phantom.people import load_phantoms
from mri_aug.data.sampling import stratified_sample
from mri_aug.fidelity.features import anatomy_table, domain_network
from mri_aug.fidelity.realism import DETECTOR_CONFIG
from mri_aug.fidelity.table import ALL_CLASSES, fidelity_table, make_candidate
from mri_aug.generators.base import fit_generator, make_generator
from mri_aug.gradcam.comparison import measure_networks, train_arms
from mri_aug.gradcam.maps import METHODS, heatmaps
from mri_aug.gradcam.measures import own_and_other
from mri_aug.models.training import TrainConfig, predict
from mri_aug.study.conditions import Condition
from mri_aug.study.simulation import Seeds, divide, draw_sample

REAL_FRAC = 0.3  # of the training people, as in the study
MEASURED = 0.6  # of the people that a generator is fitted on: its images of their slices are measured
N_SPLITS = 5  # of each protocol that are audited: of people, five test everybody once
N_NETWORKS = 2  # of each training set that maps are drawn for, each with other people to test
N_SLICES = 2  # of a person that maps are drawn for
ABSENT = pd.DataFrame({"missing": ["The record lacks this table: mri-aug tables --dataset FOLDER computes it."]})
THRESHOLDS = (0.9, 0.92, 0.94, 0.95, 0.955, 0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99)


def _counts(images: ImageSet, seed: int) -> pd.DataFrame:
    test = np.zeros(len(images), bool) if images.published_test is None else images.published_test.numpy()
    rows = []
    for label, name in enumerate(images.class_names):
        members = images.labels.numpy() == label
        training, testing = (set(images.subjects[members & part].tolist()) for part in (~test, test))
        row = name, (members & ~test).sum(), (members & test).sum(), len(training | testing), len(training & testing)
        rows.append(row)
    return pd.DataFrame(rows, columns=["class", "training_images", "test_images", "people", "people_in_both"])


def _people(images: ImageSet, seed: int) -> pd.DataFrame:
    rows = []
    for source, one in (("real", images), ("phantoms", load_phantoms(seed=seed))):
        chosen = recover_subjects(one.images)
        plateau = {"chosen": chosen.threshold, "low": chosen.plateau[0], "high": chosen.plateau[1]}
        for threshold in THRESHOLDS:
            audit = recover_subjects(one.images, threshold=threshold, labels=one.labels)
            size = {"smallest": audit.sizes.min(initial=len(one)), "largest": audit.sizes.max(initial=0)}
            found = {"groups": audit.n_subjects, **size, "of_one_class": audit.class_purity}
            rows.append({"source": source, "threshold": threshold, **found, **plateau})
    return pd.DataFrame(rows)


def _leakage(images: ImageSet, seed: int) -> pd.DataFrame:
    threshold, rows = recover_subjects(images.images).threshold, []
    wanted = [(protocol, k) for protocol in ("image", "subject") for k in range(N_SPLITS)]
    for protocol, k in wanted + [("published", 0)] * (images.published_test is not None):
        parts = divide(images, protocol, seed=seed, simulation=k)
        row = asdict(audit_split(images, parts, neighbour_threshold=threshold, seed=seed + k))
        if np.isnan(threshold):  # nothing tells people apart
            row["close_neighbours"] = float("nan")
        row["random_label_low"], row["random_label_high"] = row.pop("random_label_interval")
        rows.append({"split": k, "n_train": len(parts.train), **row})
    return pd.DataFrame(rows)


def _anatomy(images: ImageSet, seed: int) -> pd.DataFrame:
    train = images[divide(images, "subject", seed=seed, simulation=0).train]
    simulated = fit_generator(make_generator("simulated"), train.images, train.labels, train.subjects, seed=seed)
    sets = {"real": images, "phantoms": load_phantoms(seed=seed), "simulated": simulated.draw(images.labels, seed=seed)}
    tables = [anatomy_table(replace(one, class_names=images.class_names)) for one in sets.values()]
    return pd.concat(tables, keys=sets, names=["source"]).reset_index(0).reset_index(drop=True)


def _fidelity(images: ImageSet, seed: int) -> pd.DataFrame:
    train = divide(images, "subject", seed=seed, simulation=0).train
    part = Condition(scarce="subjects", real_frac=REAL_FRAC)
    chosen = train[draw_sample(part, images[train], seed=Seeds.of(seed, 0).sample).real]
    sample, others = images[chosen], images[np.setdiff1d(np.arange(len(images)), chosen)]
    rows = stratified_sample(sample.labels.numpy(), MEASURED, seed=seed, subjects=sample.subjects.numpy())
    measured, candidates, costs = sample[rows], {}, []
    for name in ("duplicate", "morph", "simulated", "diffusion"):
        start = time.process_time()
        fitted = fit_generator(make_generator(name), sample.images, sample.labels, sample.subjects, seed=seed)
        candidates[name] = make_candidate(fitted, measured, seed=seed)
        costs.append((name, ALL_CLASSES, "seconds", time.process_time() - start))
    config = TrainConfig(epochs=2)  # 200 steps
    network = domain_network(load_phantoms(seed=seed), seed=seed, name="slices of phantoms", config=config)
    detector = replace(DETECTOR_CONFIG, epochs=2)  # as many steps as its default has with a few hundred images
    table = fidelity_table(candidates, measured, others, network=network, seed=seed, config=detector)
    return pd.concat([table, pd.DataFrame(costs, columns=table.columns[:4])], ignore_index=True)


def _heatmaps(images: ImageSet, seed: int) -> pd.DataFrame:
    everyone = Condition(protocol="subject", scarce="subjects")
    filled = replace(everyone, real_frac=REAL_FRAC, synth_frac=1 - REAL_FRAC, generator="morph")
    arms = {"all": everyone, "all, image protocol": replace(everyone, protocol="image"), "30 % + morph": filled,
            "30 % + duplicates": replace(filled, generator="duplicate")}  # fmt: skip
    tables = []
    for fold in range(N_NETWORKS):
        parts = {name: divide(images, name, seed=seed, simulation=fold) for name in ("subject", "image")}
        training = {name: images[one.train] for name, one in parts.items()}
        networks = train_arms(arms, training, seed=seed + fold, configs={"cnn": TrainConfig(epochs=3)}, n_jobs=1)
        common = np.intersect1d(parts["subject"].test, parts["image"].test)  # no network was trained on these slices
        place = pd.Series(common).groupby(images.subjects[common].numpy()).cumcount().to_numpy()
        test = images[common[place < N_SLICES]]
        targets = {name: predict(one, test.images).argmax(axis=1) for name, one in networks.items()}
        measure = {"targets": targets, "seed": seed, "n_jobs": 1}
        rows = [measure_networks(networks, test, **measure)]
        methods = [method for method in METHODS if method not in ("hirescam", "scorecam")]  # the last takes minutes
        rows.append(measure_networks({"all": networks["all"]}, test, methods=methods, **measure))
        likeness = []
        for name, one in networks.items():
            maps = heatmaps(one.model, test.images, method="hirescam", target=targets[name], mean=one.mean, std=one.std)
            alike = own_and_other(maps, maps, test.subjects.numpy(), targets[name])
            likeness.append(alike.assign(network=name, method="hirescam", image=range(len(test))))
        table = pd.concat(rows).merge(pd.concat(likeness), how="left", on=["network", "method", "image"])
        tables.append(table.assign(fold=fold, right=table["target"] == table["label"]))
    keys = ["network", "method", "fold", "subject", "label"]
    table = pd.concat(tables).drop(columns=["image", "target"]).dropna(axis=1, how="all")
    return table.groupby(keys, sort=False).mean().astype("float32").reset_index()


TABLES = {"counts": _counts, "people": _people, "leakage": _leakage, "anatomy": _anatomy, "fidelity": _fidelity,
          "heatmaps": _heatmaps}  # fmt: skip


def make_tables(
    image_set: ImageSet, *, dataset: str, folder: Path, seed: int = 0, names: Sequence[str] = ()
) -> Iterator[str]:
    """Compute the tables that a folder lacks, or those named anew, and yield each one's name once it is written.

    ``image_set`` has known people and ``dataset`` is what the manifest calls it. All tables take about half an hour of
    one core with the thesis's 6,400 images, nearly all of it the last two.

    Raises a ValueError if a name is not in ``TABLES``, or the folder holds tables of other images.
    """
    if unknown := set(names) - set(TABLES):
        raise ValueError(f"no table is called {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    path = folder / "tables.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if any(entry["images"] != image_set.fingerprint for entry in entries.values()):
        raise ValueError(f"{folder} holds tables of other images: name another folder")
    for name in names or [name for name in TABLES if name not in entries]:
        start = time.process_time()
        table = TABLES[name](image_set, seed)
        with provenance.atomic_write(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False, compression="zstd")
        entries[name] = {
            "dataset": dataset, "images": image_set.fingerprint, "n_images": len(image_set), "n_rows": len(table),
            "n_people": len(image_set.subjects.unique()), "seed": seed, "date": time.strftime("%Y-%m-%d"),
            "core_seconds": round(time.process_time() - start), "code": provenance.code_fingerprint(__name__),
            "machine": provenance.machine(), "versions": provenance.versions(),
        }  # fmt: skip
        with provenance.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        yield name


def load_tables(*names: str, folder: Path | None = None) -> dict[str, pd.DataFrame]:
    """Return the record's tables by name, or none at all where ``folder`` (``results/record``) lacks one of them."""
    paths = {name: (folder or provenance.results("record")) / f"{name}.parquet" for name in names}
    missing = [name for name, path in paths.items() if not path.is_file()]
    return {} if missing else {name: pd.read_parquet(path) for name, path in paths.items()}
