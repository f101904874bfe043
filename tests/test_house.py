"""The house of DESIGN: which rooms there are, how large they are, and that imports point down."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mri_aug.provenance import imported_modules
from tests.house import FILES, ROOT, measure, room

# the rooms from the lowest to the highest, with the rooms that each may import from
MAY_IMPORT = {
    "provenance": "",
    "policies": "",
    "results": "provenance",
    "data": "provenance",
    "models": "data policies provenance",
    "generators": "models data provenance",
    "fidelity": "generators models data results provenance",
    "study": "fidelity generators models data results policies provenance",
    "gradcam": "study generators models data results provenance",
    "book": "gradcam study fidelity generators models data results policies provenance",
    "cli": "book gradcam study fidelity generators models data results policies provenance",
}
MAX_FILES, MAX_LINES = 85, 15_500
MAX_EXPORTS = 12
HEAVY = {"torch", "torchvision", "openai", "pytorch_grad_cam", "cv2"}
# plain data and numbers are read without a deep learning framework or a client of an API
LIGHT = ("mri_aug.results", "mri_aug.study.conditions", "mri_aug.study.parts", "mri_aug.cli")

IMPORTS = {
    module: imported_modules(path.read_text(encoding="utf-8"), FILES) - {module, ROOT} for module, path in FILES.items()
}
PACKAGES = {name for name, path in FILES.items() if path.name == "__init__.py"}
MODULES = [name for name in FILES if name != ROOT]


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_house_has_these_rooms_and_stays_small():
    table = measure()
    assert set(table) - {""} == set(MAY_IMPORT)
    assert sum(files for files, _, _ in table.values()) <= MAX_FILES
    assert sum(lines for _, lines, _ in table.values()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    for other in IMPORTS[module]:
        allowed = {room(module), *MAY_IMPORT[room(module)].split()}
        assert room(other) in allowed, f"{module} may not import {other}"


def test_no_import_goes_round_in_a_circle():
    # a module is loaded after the packages around it, and a package after what its own file imports
    graph = {
        module: {other for other in found if not (other in PACKAGES and module.startswith(f"{other}."))}
        for module, found in IMPORTS.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_only_exports(package):
    tree = ast.parse(FILES[package].read_text(encoding="utf-8"))
    docstring, *body = tree.body
    assert isinstance(docstring, ast.Expr)
    exported = []
    for node in body:
        assert isinstance(node, ast.ImportFrom | ast.Assign), ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            assert room(node.module) == room(package)
            exported += [alias.name for alias in node.names]
        else:
            assert node.targets[0].id == "__all__"
            assert sorted(ast.literal_eval(node.value)) == sorted(exported)
    if package.count(".") == 1:
        assert len(exported) <= MAX_EXPORTS


@pytest.mark.parametrize("module", sorted(set(FILES) - PACKAGES))
def test_modules_import_from_where_a_name_is_defined(module):
    """Fingerprints do not follow packages, which only export; nothing may therefore reach code through one."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            assert all(f"{node.module}.{alias.name}" in FILES for alias in node.names), ast.unparse(node)


def test_training_knows_nothing_of_generators():
    found, waiting = set(), ["mri_aug.models.training"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += IMPORTS[name]
    assert not {name for name in found if room(name) in ("generators", "study")}


def test_names_in_code_notebooks_and_texts_exist():
    """Docstrings, comments and chapters outlive a move: each ``mri_aug.x.y`` that they name must still be there."""
    project = Path(__file__).resolve().parents[1]
    texts = [*project.glob("notebooks/*.py"), *project.glob("book/*.md"), project / "README.md", *FILES.values()]
    for path in texts:
        for name in set(re.findall(r"(?<![\w./-])mri_aug(?:\.[A-Za-z_]\w*)+", path.read_text(encoding="utf-8"))):
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                pytest.fail(f"{path.relative_to(project)} names {name}, which does not exist")


def test_importing_the_package_costs_nothing():
    assert not {"torch", "numpy", "pandas", "matplotlib", "sklearn"} & loaded_by("import mri_aug")


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_torch(module):
    assert not HEAVY & loaded_by(f"import {module}")


@pytest.mark.parametrize("module", MODULES)
def test_no_function_outgrows_a_page(module):
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            # the signature and its documentation do not count
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            assert node.end_lineno - node.body[documented].lineno < 60, f"{node.name} is longer than 60 lines"
