"""An import may only point down: the layering of DESIGN.md, read from the source, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from mri_aug.provenance import imported_modules, library_modules

LAYERS = (
    # 0: no notion of a dataset
    "paths allocator provenance sampling metrics results plots optimisers profiles style report diagrams cam_summary "
    "gallery",
    # 1: images, people, what is done to an image, networks
    "imageset cache phantom dataset subjects similarity protocols policies models batches",
    # 2: what learns, and what looks at it
    "generators training crossfit filters fidelity cam_methods gradcam localisation faithfulness sanity",
    # 3: a study
    "conditions chapter arm store simulation keys study cam_study vary",
    # 4: commands, and the making of the book
    "cli cli_bank publishing",
)
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules.split()}
# numbers and drawings are read, plotted and tested without a deep learning framework or a client of an API
LIGHT = ("results", "plots", "diagrams", "metrics", "style", "report", "cam_summary", "gallery")
HEAVY = {"torch", "torchvision", "openai", "pytorch_grad_cam", "cv2"}

FILES = library_modules()
IMPORTS = {
    module: imported_modules(path.read_text(encoding="utf-8"), FILES) - {module, "mri_aug"}
    for module, path in FILES.items()
}


def noun(module: str) -> str:
    """``mri_aug.generators.morph`` is part of ``generators``."""
    return module.split(".")[1]


def reachable(module: str) -> set[str]:
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += IMPORTS[name]
    return found


def foreign_imports(module: str) -> set[str]:
    """Top-level names of what a module imports when it is loaded; imports within functions do not count."""
    names: set[str] = set()
    for node in ast.parse(FILES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", [name for name in FILES if name != "mri_aug"])
def test_imports_point_down(module):
    assert noun(module) in LAYER_OF, f"give {module} a place in LAYERS"
    for other in IMPORTS[module]:
        assert LAYER_OF[noun(other)] <= LAYER_OF[noun(module)], f"{module} may not import {other}, a layer above it"


def test_no_import_goes_round_in_a_circle():
    packages = {name for name, path in FILES.items() if path.name == "__init__.py"}
    # a package's own file imports its modules, which name the package: that is no circle
    graph = {module: {other for other in found if other not in packages} for module, found in IMPORTS.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES) - len(packages)


def test_training_knows_nothing_of_generators():
    assert not {name for name in reachable("mri_aug.training") if "generators" in name}


@pytest.mark.parametrize("module", [name for name in FILES if name != "mri_aug" and noun(name) in LIGHT])
def test_light_modules_stay_light(module):
    for name in reachable(module):
        assert not HEAVY & foreign_imports(name), f"{module} reaches {name}, which is not light"


def test_importing_the_package_costs_nothing():
    loaded = loaded_by("import mri_aug")
    assert not {"torch", "numpy", "pandas", "matplotlib", "sklearn"} & loaded


def test_light_modules_load_no_torch():
    names = [name for name in FILES if name != "mri_aug" and noun(name) in LIGHT]
    assert len(names) >= len(LIGHT)
    assert not HEAVY & loaded_by("\n".join(f"import {name}" for name in names))


@pytest.mark.parametrize("module", FILES)
def test_no_file_or_function_outgrows_the_house(module):
    source = FILES[module].read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            # the signature and its documentation do not count
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            assert node.end_lineno - node.body[documented].lineno < 60, f"{node.name} is longer than 60 lines"
