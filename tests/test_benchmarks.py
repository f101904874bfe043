"""The benchmarks run at tiny sizes and write what they say; their arithmetic agrees with PyTorch. Nothing is timed."""

from __future__ import annotations

import csv
import json
import os
import sys

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mri_aug.models.networks import count_parameters, make_model
from mri_aug.policies.registry import POLICIES
from mri_aug.provenance import project

sys.path.insert(0, str(project()))  # the benchmarks are not part of the installed package

from benchmarks import ablation, contenders, footprint, growth, layers, peers, plain, report
from benchmarks.flops import forward_flops, training_flops
from benchmarks.processes import ProcessError, in_process, resident_megabytes, side_by_side
from benchmarks.record import Record
from benchmarks.run import SECTIONS, main, measure_all
from benchmarks.settings import Settings, precision, prepare
from benchmarks.targets import judge
from benchmarks.task import Outcome, PlainCNN, Task

QUICK = dict(quick=True, full=False, seeds=1, epochs=1)
RUN = {"images": "abc", "quick": False}


@pytest.fixture(scope="module")
def work(toy_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    prepare(toy_images, folder)
    return folder


# --- arithmetic ------------------------------------------------------------------------------------------------


def test_flops_of_a_training_step_agree_with_pytorch():
    model, images = make_model("cnn", seed=0), torch.zeros(2, 1, 128, 128)
    with FlopCounterMode(display=False) as counter:
        forward = model(images)
        n_forward = counter.get_total_flops()
        forward.sum().backward()
    assert sum(forward_flops(model).values()) == n_forward / 2
    assert training_flops(model) == counter.get_total_flops() / 2


def test_layers_share_out_the_operations_of_a_step(work):
    rows = pd.DataFrame(layers._layers(work, 1, 64))
    assert rows["gflop"].sum() == pytest.approx(64 * training_flops(make_model("cnn", seed=0)) / 1e9)
    assert (rows["bound_ms"] == rows[["arithmetic_ms", "memory_ms"]].max(axis=1)).all()
    assert (rows["measured_ms"] > 0).all()
    pooling = rows[rows["layer"].str.startswith("MaxPool2d")].iloc[0]
    values_in, values_out = 64 * 16 * 128**2, 64 * 16 * 64**2
    n_bytes = {"bfloat16": 2, "float32": 4}[precision()]
    assert pooling["megabytes"] == pytest.approx(n_bytes * (3 * values_in + 2 * values_out) / 1e6)


def test_the_plain_network_is_the_librarys():
    plain_model, model = PlainCNN(), make_model("cnn", seed=0)
    with torch.no_grad():
        for own, other in zip(model.parameters(), plain_model.parameters(), strict=True):
            other.copy_(own)
    images = torch.randn(3, 1, 128, 128)
    torch.testing.assert_close(plain_model(images), model(images))


def test_every_gain_has_a_name_and_leaves_the_batches_alike(toy_images):
    assert list(ablation.NAMES) == list(vars(ablation.Gains()))
    assert set(ablation.available()) >= set(ablation.NAMES) - {"bfloat16"}
    for gains in (ablation.Gains(), ablation.Gains(**dict.fromkeys(ablation.NAMES, True))):
        batches = ablation._batches(toy_images.images, toy_images.labels, gains)
        images, labels = next(iter(batches()))
        assert images.shape == (64, 1, 128, 128) and images.min() >= -1 and images.max() <= 1 and len(labels) == 64


def test_jitter_keeps_the_first_images_and_changes_the_repeats(toy_images):
    images = toy_images.images
    more = growth.jittered(images, 2 * len(images) + 5, seed=0)
    assert len(more) == 2 * len(images) + 5 and torch.equal(more[: len(images)], images)
    assert not (more[len(images) : 2 * len(images)] == images).flatten(1).all(1).any()
    assert torch.equal(more, growth.jittered(images, len(more), seed=0))
    assert not torch.equal(more, growth.jittered(images, len(more), seed=1))


# --- processes -------------------------------------------------------------------------------------------------


def meet_and_return(meet, value):
    meet()
    return value, torch.get_num_threads()


def one_dies(meet):
    if meet() == 0:
        os._exit(3)
    meet()


def fail_to_import():
    import no_such_framework  # noqa: F401


def fail():
    raise ValueError("two lines\nof words")


def test_processes_run_side_by_side_and_say_why_they_failed():
    assert [value for value, _ in side_by_side(meet_and_return, 2, 7)] == [7, 7]
    with pytest.raises(ProcessError, match="no_such_framework") as missing:
        in_process(fail_to_import)
    with pytest.raises(ProcessError, match="ValueError: two lines$") as failed:
        in_process(fail)
    assert missing.value.missing and not failed.value.missing
    with pytest.raises(ProcessError, match="one_dies died without a word|BrokenBarrier"):
        side_by_side(one_dies, 2)


def test_a_step_holds_its_weights_four_times_and_what_the_convolutions_give(work):
    found = footprint.step_tensors(work)
    assert found["weights_mb"] == pytest.approx(16 * count_parameters(make_model("cnn", seed=0)) / 1e6)
    values = 64 * (16 * 128**2 + 32 * 64**2)  # outputs of both convolutions: pooling's backward pass needs its input
    assert values * 2 / 1e6 < found["saved_mb"] < 3 * values * 4 / 1e6


def test_resident_memory_is_told_where_it_is_known():
    assert resident_megabytes() is None or 10 < resident_megabytes() <= resident_megabytes("VmHWM")


# --- contenders ------------------------------------------------------------------------------------------------


def test_disk_and_memory_train_on_the_same_images(work, toy_images):
    task = Task(work, train=tuple(range(64)), test=tuple(range(64, 96)), epochs=2, seed=0)
    outcome = plain.in_memory(task)
    assert len(outcome.epoch_seconds) == 2 and 0 < sum(outcome.epoch_seconds) < outcome.seconds
    assert 0 < outcome.test_cross_entropy < 5
    assert in_process(plain.script, task).test_cross_entropy == pytest.approx(outcome.test_cross_entropy, rel=1e-3)
    names = [path.rsplit("/", 2)[1:] for path in task.files([0, 95])]
    labels = toy_images.labels.tolist()
    assert [(folder[0], file) for folder, file in names] == [
        (str(labels[0]), "000000.png"), (str(labels[95]), "000095.png"),
    ]  # fmt: skip


def test_an_absent_framework_is_a_row_that_says_so():
    error = ProcessError("ModuleNotFoundError: No module named 'keras'", missing=True)
    row = contenders._absent("Keras", error)
    assert row["n"] == 0 and "not installed" in row["note"] and "keras" in row["note"]
    assert contenders._summary([row]) == [row]
    done = {"contender": "a", "simulation": 0, "epochs": 2, "test_cross_entropy": 0.5, "seconds": 36.0}
    (summary,) = contenders._summary([done, done | {"test_cross_entropy": 0.7, "simulation": 1}])
    assert summary["n"] == 2 and summary["median"] == pytest.approx(0.6) and summary["most"] == 0.7
    assert summary["simulations_per_hour"] == pytest.approx(100) and summary["epochs"] == 2
    assert set(contenders.FRAMEWORKS.values()) == {peers.lightning, peers.fastai, peers.monai, peers.keras}


def test_a_contender_that_fails_half_way_keeps_no_other_row(work, monkeypatch):
    finished = iter([Outcome((1.0,), 1.0, 0.5)])

    def fails_the_second_time(function, task):
        for outcome in finished:
            return outcome
        raise ProcessError("out of memory")

    monkeypatch.setattr(contenders, "in_process", fails_the_second_time)
    rows = contenders._their_simulations(Settings(work, quick=True, seeds=3, epochs=1))
    assert [row["contender"] for row in rows] == [contenders.PLAIN, contenders.MEMORY]
    assert all(row["note"] == "failed (out of memory)" for row in rows)


# --- the command -----------------------------------------------------------------------------------------------


def test_a_quick_run_writes_what_is_claimed(toy_images, tmp_path, capsys):
    names = ["peak", "policies", "growth"]
    assert measure_all(names, toy_images, tmp_path, dataset="toy", **QUICK) == 0
    content = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(content["sections"]) == names
    for section in content["sections"].values():
        assert section["run"]["dataset"] == "toy" and section["run"]["n_images"] == 96 and section["run"]["quick"]
        assert section["machine"]["cores"] >= 1 and section["versions"]["torch"] and section["date"].endswith("UTC")
    assert len(content["sections"]["policies"]["tables"]["policies"]) == len(POLICIES)
    assert {row["target"] for row in content["targets"]} >= {"morph variations per second"}
    with (tmp_path / "benchmarks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["section"] for row in rows} == set(names)
    assert "targets" in capsys.readouterr().out


def test_a_section_that_fails_is_named_and_the_others_go_on(toy_images, tmp_path, monkeypatch, capsys):
    def broken(settings):
        raise RuntimeError("no such luck")

    monkeypatch.setitem(SECTIONS, "profile", SECTIONS["peak"].__class__(broken, 0, "nothing"))
    monkeypatch.setitem(SECTIONS, "peak", SECTIONS["peak"].__class__(lambda s: {"peak": []}, 0, "nothing"))
    assert measure_all(["profile", "peak"], toy_images, tmp_path, dataset="toy", **QUICK) == 1
    out = capsys.readouterr().out
    assert "failed: no such luck" in out and "failed: profile" in out
    assert list(Record(tmp_path).sections) == ["peak"]


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "peak,speed"])
    assert "unknown sections ['speed']" in capsys.readouterr().err


def test_a_record_keeps_sections_of_the_same_images_only(tmp_path):
    Record(tmp_path).keep("peak", {"peak": [{"gflops": 1.0}]}, seconds=1, run=RUN)
    record = Record(tmp_path)
    record.keep("growth", {}, seconds=1, run=RUN | {"seeds": 9})
    assert list(Record(tmp_path).sections) == ["peak", "growth"]
    Record(tmp_path).keep("growth", {}, seconds=1, run=RUN | {"images": "other"})
    assert list(Record(tmp_path).sections) == ["growth"]
    (tmp_path / "benchmarks.json").write_text("[]")
    with pytest.raises(ValueError, match="not a record of benchmarks"):
        Record(tmp_path)


def test_targets_are_judged_from_what_was_measured():
    rows = [{"contender": name, "images_per_second": rate, "note": ""}
            for name, rate in ((contenders.OURS, 1200.0), (contenders.PLAIN, 150.0), ("fastai", 400.0))]  # fmt: skip
    rows.append({"contender": "Keras on torch", "n": 0, "note": "not installed"})
    sections = {"throughput": {"tables": {"throughput": rows}}}
    found = {row["target"]: row for row in judge(sections)}
    assert (
        found["throughput against the plain script"] | {"measured": 8.0, "met": True}
        == (found["throughput against the plain script"])
    )
    fastest = found["throughput against the fastest framework"]
    assert fastest["measured"] == 3.0 and not fastest["met"] and fastest["wanted"] == 4
    assert not judge({})


def test_quick_sizes_are_smaller(tmp_path):
    assert Settings(tmp_path).size(100, 1) == 100 and Settings(tmp_path, quick=True).size(100, 1) == 1


# --- the report ------------------------------------------------------------------------------------------------


def test_the_report_holds_the_numbers_and_the_rest_of_the_text(tmp_path):
    rows = [
        {"contender": contenders.OURS, "images_per_second": 40.0, "least": 38.0, "most": 41.0, "n": 3, "note": ""},
        {"contender": "fastai", "images_per_second": 10.0, "least": 9.0, "most": 11.0, "n": 3, "note": ""},
        {"contender": "Keras on torch", "n": 0, "note": "not installed"},
    ]
    run = RUN | {"n_images": 96, "n_people": 16, "dataset": "toy"}
    small = [row | {"images_per_second": 2 * row["images_per_second"] + 20} if row["n"] else row for row in rows]
    Record(tmp_path).keep("throughput", {"throughput": rows, "throughput_64": small}, seconds=1, run=run)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(tmp_path)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith(f"{report.END}\nafter\n") and "old" not in text
    assert "| fastai | 10 | 4.0 × | 40 | 2.5 × |" in text and "| Keras on torch | not installed |" in text
    assert "96 images of 16 people (toy)" in text and "![" in text
    bars = report.draw_throughput(rows).axes[0].patches
    assert sorted(bar.get_width() for bar in bars) == [10.0, 40.0] and (tmp_path / "throughput.png").is_file()
    readme.write_text("nowhere")
    with pytest.raises(ValueError, match="must hold the lines"):
        report.write(tmp_path)


def test_the_report_names_each_machine_and_what_was_measured_there():
    run = RUN | {"n_images": 96, "n_people": 16, "dataset": "toy"}
    section = {"date": "2026-01-02", "run": run, "versions": {"python": "3.11"}}
    slow, fast = ({"processor": name, "cores": 2, "memory_gib": 24.0} for name in ("slow", "fast"))
    content = {"sections": {"peak": section | {"machine": slow}, "growth": section | {"machine": fast}}, "targets": []}
    first = next(report.parts(content))
    assert "on slow (2 cores, 24 GiB): peak; on fast (2 cores, 24 GiB): growth; with python 3.11" in first
    content["sections"].pop("growth")
    assert "on slow (2 cores, 24 GiB) with python 3.11, on 96 images" in next(report.parts(content))


def test_the_committed_report_is_of_the_committed_record():
    text = (report.FOLDER / "README.md").read_text(encoding="utf-8")
    assert text.split(report.BEGIN)[1].split(report.END)[0].strip() == "\n\n".join(
        report.parts(Record(report.FOLDER).content)
    )
