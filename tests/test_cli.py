"""The command says what it does, and a fault is one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mri_aug import cli, provenance
from mri_aug.data import loading as dataset
from mri_aug.results.deposit import load_deposit
from mri_aug.study.parts import chapter_parts, listed_conditions, part_sizes, profile_parameters, rare_classes


@pytest.fixture
def small(tmp_path, monkeypatch, toy_images):
    """Toy images in place of phantoms, and a folder of its own for what is written."""
    monkeypatch.setattr(dataset, "load_phantoms", lambda **_: toy_images)
    monkeypatch.setattr(provenance, "project", lambda: tmp_path)
    return tmp_path


def test_a_study_is_run_kept_and_exported(small, capsys, toy_images):
    sizes = ["--profile", "smoke", "--simulations", "1", "--real-frac", "0.5", "--jobs", "2"]
    command, rare = ["study", *sizes, "--export", "toy"], rare_classes(list(toy_images.class_counts().values()))
    assert cli.main(command) == 0
    rows, manifest = load_deposit("toy")
    parts = chapter_parts(0.5, rare=rare, **part_sizes(profile_parameters("smoke")))
    assert len(rows) == len(listed_conditions(parts)) and rows["key"].is_unique
    assert [(part["part"], part["n_simulations"]) for part in manifest["parts"]] == [(part.name, 1) for part in parts]
    assert manifest["profile"] == "smoke" and manifest["dataset"] == "phantom"
    assert {"machine", "versions", "core_hours", "images", "code"} <= set(manifest)
    assert "96 images of 16 people" in capsys.readouterr().out
    assert cli.main(["study", *sizes, "--parts", "sweep"]) == 0
    assert f"{len(parts[-2].conditions)} simulations are in the store" in capsys.readouterr().out


def test_another_machine_goes_on_from_a_deposit(small, capsys):
    command = ["study", "--record", "--parts", "draft", "--jobs", "1", "--export", "toy"]
    assert cli.main([*command, "--simulations", "1"]) == 0
    first, manifest = load_deposit("toy")
    assert manifest["parts"][0]["n_simulations"] == 1
    (small / "artifacts" / "store.sqlite").unlink()
    capsys.readouterr()
    assert cli.main([*command, "--simulations", "2", "--from", str(small / "results" / "toy")]) == 0
    out = capsys.readouterr().out
    assert f"{len(first)} rows of" in out and f"draft {len(first):20} of {2 * len(first):5}" in out
    both, manifest = load_deposit("toy")
    assert len(both) == 2 * len(first) and manifest["parts"][0]["n_simulations"] == 2
    kept = both[both["key"].isin(first["key"])].reset_index(drop=True)
    assert kept.equals(first), "no finished row was computed again"


def test_the_outlook_runs_nothing(small, capsys):
    assert cli.main(["study", "--record", "--outlook"]) == 0
    out = capsys.readouterr().out
    assert "power-800" in out and "core hours left" in out and "0 simulations are in the store" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["study", "--real-frac", "1.5", "--profile", "smoke"], "real_frac must lie in (0, 1], got 1.5"),
        (["study", "--real-frac", "1", "--profile", "smoke"], "real_frac must be below 1"),
        (["study", "--profile", "quick"], "profile must be one of smoke, demo, thesis, got 'quick'"),
        (["study", "--parts", "figure"], "there is no part figure; choose from: draft, people"),
        (["study", "--settings", "--simulations", "0"], "n_simulations must be at least 1, got 0"),
        (["study", "--record", "--simulations", "0"], "n_simulations must be at least 1, got 0"),
        (["study", "--outlook", "--export", "toy", "--profile", "smoke"], "there are no rows to deposit as 'toy'"),
        (["study", "--dataset", "no-such-folder"], "there is no folder 'no-such-folder'"),
        (["book", "--dataset", "no-such-folder"], "there is no folder 'no-such-folder'"),
    ],
)
def test_a_fault_is_one_line(small, capsys, command, message):
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("mri-aug: ") and message in said and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [["study", "--scheme", "quick"], ["tables", "--profile", "smoke"]])
def test_unknown_words_end_with_the_usage(capsys, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2 and words[1] in capsys.readouterr().err


def test_paths_reach_notebooks_that_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "a:b").mkdir()
    (tmp_path / "people.csv").touch()
    for given in ("scans", "scans:raw", "a:b", "a:b:raw", "people.csv"):
        assert cli._absolute(given) == f"{tmp_path}/{given}"
    for given in ("", "phantom", "owner/name:raw", r"pat(\d+)_"):
        assert cli._absolute(given) == given


def test_help_imports_nothing_heavy():
    code = "import sys; from mri_aug import cli; cli._parser(); print(*{'pandas', 'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_interrupt_says_how_to_go_on(small, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_study", lambda *_, **__: interrupted(0))
    assert cli.main(["study"]) == 130
    assert "goes on from there" in capsys.readouterr().err
