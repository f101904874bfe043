"""The README's example runs, and what it names exists."""

from __future__ import annotations

import re

import pytest

from mri_aug.provenance import project
from mri_aug.results.deposit import load_deposit


def test_the_example_runs_as_printed(tmp_path, monkeypatch, capsys, own_cache):
    text = (project() / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(example.strip().splitlines()) <= 20, "a whole study fits in about twenty lines"
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert len(names["rows"]) == 4 * 3 and names["rows"]["protocol"].eq("subject").all()
    assert "30 % real + 70 % morph" in capsys.readouterr().out


def test_its_figure_is_drawn_from_the_committed_record():
    text = (project() / "README.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"\]\((results/[^)]+\.svg)\)", text)
    drawn = (project() / name).read_text(encoding="utf-8")
    assert f"rows {load_deposit('record')[1]['sha256']}" in drawn, "mri-aug study --record --export record draws it"


def cluster_example(package: str, monkeypatch) -> str:
    text = (project() / "README.md").read_text(encoding="utf-8")
    (example,) = (block for block in re.findall(r"```py\n(.*?)```", text, re.S) if f"from {package}" in block)
    monkeypatch.setattr("builtins.input", lambda _: "")
    return example


def test_the_job_of_a_slurm_cluster_is_written(monkeypatch, capsys):
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(dask_jobqueue.SLURMCluster, "adapt", lambda *_, **__: None)  # would submit it
    names: dict = {}
    exec(cluster_example("dask_jobqueue", monkeypatch).replace("8786", "0"), names)
    names["cluster"].close()
    script = capsys.readouterr().out
    for line in ("#SBATCH -p normal", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=24G", "export OMP_NUM_THREADS=1"):
        assert line in script.splitlines()
    assert "--nthreads 1 --memory-limit 3.00GiB --nworkers 8" in script and "--lifetime 11h" in script


def test_the_pods_of_a_kubernetes_cluster_are_described(monkeypatch):
    operator = pytest.importorskip("dask_kubernetes.operator")
    given: dict = {}
    monkeypatch.setattr(operator, "KubeCluster", lambda **options: given.update(options))  # would create them
    exec(cluster_example("dask_kubernetes.operator", monkeypatch))
    del given["shutdown_on_close"]
    (worker,) = operator.make_cluster_spec(**given)["spec"]["worker"]["spec"]["containers"]
    assert worker["args"][:4] == ["dask", "worker", "--nthreads", "1"]
    assert (
        worker["resources"]["limits"] == {"memory": "3Gi"}
        and {"name": "OMP_NUM_THREADS", "value": "1"} in worker["env"]
    )


def test_every_module_is_in_the_table():
    text = (project() / "README.md").read_text(encoding="utf-8")
    named = {word.removesuffix("/*") for word in re.findall(r"`([a-z_/*0-9]+)`", text)}
    modules = {path.stem for path in (project() / "mri_aug").glob("[a-z]*.py")}
    folders = {path.parent.name for path in (project() / "mri_aug").glob("*/__init__.py")}
    assert modules | folders <= named, sorted((modules | folders) - named)


def test_make_targets_exist():
    text = (project() / "README.md").read_text(encoding="utf-8")
    rules = (project() / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make (\w+)", text, re.M):
        assert re.search(rf"^{target}:", rules, re.M), target
