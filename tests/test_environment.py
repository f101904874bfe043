"""environment.yml, constraints.txt and pyproject.toml ask for the same packages."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mri_aug.provenance import project

# conda-forge's names, where they differ
CONDA_NAMES = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "py-opencv": "opencv-python-headless",
}
NOT_OURS = {"python", "pip", "make"}  # what pip itself and the Makefile need
WANTED = {
    "jupyter-book", "jupytext", "papermill", "torch", "torchvision", "datasets", "openai", "grad-cam", "seaborn",
    "nbval",
}  # fmt: skip


def pyproject() -> dict:
    return tomllib.loads((project() / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required() -> dict[str, str]:
    """Every requirement of pyproject.toml, extras included: name and versions."""
    given = pyproject()
    listed = given["dependencies"] + [one for extra in given["optional-dependencies"].values() for one in extra]
    found = map(Requirement, listed)
    return {canonicalize_name(r.name): versions(r) for r in found if r.name != given["name"]}


def versions(requirement: Requirement) -> str:
    return ",".join(sorted(map(str, requirement.specifier)))


def environment() -> dict[str, str]:
    """Every package of environment.yml: name and versions."""
    found = {}
    for entry in yaml.safe_load((project() / "environment.yml").read_text())["dependencies"]:
        lines = entry["pip"] if isinstance(entry, dict) else [entry]
        for line in lines:
            if not line.startswith("-"):
                requirement = Requirement(line)
                name = canonicalize_name(CONDA_NAMES.get(requirement.name, requirement.name))
                assert name not in found, f"{name} is listed twice"
                found[name] = versions(requirement)
    return found


def constraints() -> dict[str, str]:
    lines = (project() / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def test_the_conda_environment_lists_what_pip_would_install():
    listed = {name: wanted for name, wanted in environment().items() if name not in NOT_OURS}
    assert listed == required()
    assert set(listed) >= WANTED


def test_the_conda_environment_installs_this_project_and_its_python():
    assert environment()["python"] == pyproject()["requires-python"]
    (by_pip,) = [e["pip"] for e in yaml.safe_load((project() / "environment.yml").read_text())["dependencies"]
                 if isinstance(e, dict)]  # fmt: skip
    assert "-e ." in by_pip


def test_every_requirement_is_pinned_to_a_version_it_allows():
    pins = constraints()
    for name, wanted in required().items():
        assert name in pins, f"constraints.txt lacks {name}: run 'make lock'"
        assert Requirement(f"{name}{wanted}").specifier.contains(pins[name], prereleases=True), (
            name,
            pins[name],
            wanted,
        )


def test_constraints_are_plain_pins():
    for line in (project() / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+!]+", line), line
    assert "mri-aug" not in constraints()
