"""The fingerprint of the code, and what is said of packages and machine."""

from __future__ import annotations

import platform
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from mri_aug.provenance import (
    atomic_write,
    code_digest,
    code_fingerprint,
    imported_modules,
    library_modules,
    machine,
    sqlite_fault,
    versions,
)

PACKAGE = {
    "__init__.py": "",
    "base.py": "X = 1\n",
    "middle.py": '"""Doc."""\nfrom toy import base\n\ndef f():\n    """Say."""\n    return base.X\n',
    "top.py": "def g():\n    from toy.middle import f\n    return f()\n",
    "kinds/__init__.py": "Y = 1\n",
    "kinds/one.py": "Z = 1\n",
    "other.py": "import toy.kinds.one\n",
}


@pytest.fixture
def package(tmp_path) -> Path:
    for name, text in PACKAGE.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "toy"


def test_library_modules_have_dotted_names(package):
    assert set(library_modules(package)) == {
        "toy", "toy.base", "toy.middle", "toy.top", "toy.kinds", "toy.kinds.one", "toy.other"
    }  # fmt: skip
    assert library_modules()["mri_aug.provenance"].name == "provenance.py"


def test_imports_are_found_anywhere(package):
    known = library_modules(package)
    assert imported_modules(PACKAGE["top.py"], known) == {"toy", "toy.middle"}
    assert imported_modules(PACKAGE["middle.py"], known) == {"toy", "toy.base"}
    assert imported_modules(PACKAGE["other.py"], known) == {"toy", "toy.kinds", "toy.kinds.one"}
    assert imported_modules("import numpy\nfrom os import path", known) == set()


@pytest.mark.parametrize("changed", ["base.py", "middle.py", "top.py"])
def test_fingerprint_follows_imports(package, changed):
    before = code_fingerprint("toy.top", folder=package)
    (package / changed).write_text(PACKAGE[changed] + "\nNEW = 2\n")
    assert code_fingerprint("toy.top", folder=package) != before


def test_fingerprint_ignores_what_is_not_imported_and_what_is_not_code(package):
    before = code_fingerprint("toy.top", folder=package)
    (package / "kinds/one.py").write_text("Z = 2\n")
    (package / "middle.py").write_text(
        PACKAGE["middle.py"].replace("Doc.", "Other.").replace("Say.", "Tell.") + "# !\n"
    )
    assert code_fingerprint("toy.top", folder=package) == before
    assert code_fingerprint("toy.other", folder=package) != code_fingerprint("toy.base", folder=package)


def test_fingerprint_of_an_unknown_module(package):
    with pytest.raises(ValueError, match="no module toy.absent; it has toy, toy.base"):
        code_fingerprint("toy.absent", folder=package)


def test_code_digest_sees_a_digit_but_no_comment():
    assert code_digest("x = 1  # one") == code_digest("'''Doc.'''\n\nx = 1")
    assert code_digest("x = 1") != code_digest("x = 2")


def test_versions_leaves_out_what_is_not_installed():
    found = versions(["numpy", "no-such-package-here"])
    assert list(found) == ["python", "numpy"]
    assert found["python"] == platform.python_version()


def test_machine_contains_no_names(monkeypatch):
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "somebody")
    for module, name in ((platform, "node"), (socket, "gethostname")):
        monkeypatch.setattr(module, name, lambda: "somewhere")
    found = machine()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert "somebody" not in str(found) and "somewhere" not in str(found)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("old", "new"):
        with atomic_write(path) as part:
            part.write_text(text)
            assert not path.exists() or path.read_text() == "old"
    with suppress(KeyboardInterrupt), atomic_write(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_faults_of_an_sqlite_file_are_distinguished(tmp_path):
    def fault(error):
        return sqlite_fault(error, path, kind="a store", cure="remove it")

    path = tmp_path / "file.sqlite"
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(sqlite3.DatabaseError) as no_database:
        sqlite3.connect(path).execute("select * from sqlite_master")
    with pytest.raises(sqlite3.OperationalError) as no_file:
        sqlite3.connect(tmp_path / "nowhere" / "file.sqlite")
    full = sqlite3.OperationalError("disk full")
    full.sqlite_errorname = "SQLITE_FULL"
    for error in (no_database.value, KeyError("no such column")):
        assert isinstance(fault(error), ValueError) and "is damaged or is not a store" in str(fault(error))
        assert str(fault(error)).endswith("remove it")
    assert isinstance(fault(no_file.value), OSError) and "cannot be used" in str(fault(no_file.value))
    assert "No space left on device" in str(fault(full)) and str(path) in str(fault(full))
