"""What made a result (code, versions, machine), where files live, and how they are written.

No host name or user name is recorded.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import os
import platform
import secrets
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# what a result depends on; the rest of the environment is in constraints.txt
PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "nilearn", "opencv-python-headless",
    "datasets", "pillow", "grad-cam", "diffusers", "openai", "joblib", "dask", "matplotlib", "seaborn", "papermill",
    "jupyter-book", "myst-nb",
)  # fmt: skip


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package, ``python`` first; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):  # an optional extra
            found[package] = version(package)
    return found


def machine() -> dict[str, str | int | float]:
    """Describe this computer: ``processor``, ``cores`` (usable ones), ``memory_gib``, ``system``, ``python``."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return float("nan")  # no such call on Windows
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def library_modules(folder: Path | None = None) -> dict[str, Path]:
    """Return the file of each module of the package in ``folder`` (by default this library), by dotted name."""
    folder = folder or Path(__file__).parent
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imported_modules(source: str, known: Container[str]) -> set[str]:
    """Return those of the ``known`` modules that Python source imports, anywhere in it, and the packages around them.

    Imports are read, not run: a module named in a string is not seen. The library has no relative imports.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    found = {name for name in names if name in known}
    parents = {".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 1)}
    return found | {name for name in parents if name in known}


def code_fingerprint(*modules: str, folder: Path | None = None) -> str:
    """Return sixteen hexadecimal digits that change when modules, or what they import of the library, do.

    Parameters as for :func:`reached_modules`. Comments, docstrings and layout do not count.
    """
    return hashlib.sha256(repr(sorted(reached_modules(*modules, folder=folder).items())).encode()).hexdigest()[:16]


def reached_modules(*modules: str, folder: Path | None = None) -> dict[str, str]:
    """Return :func:`code_digest` of modules, and of all that they import of the library, by dotted name.

    Parameters
    ----------
    *modules : str
        Dotted names, such as ``"mri_aug.study.simulation"``.
    folder : Path, optional
        As in :func:`library_modules`.

    Raises
    ------
    ValueError
        If the library has no such module.
    """
    files = library_modules(folder)
    if unknown := [name for name in modules if name not in files]:
        raise ValueError(f"the library has no module {', '.join(unknown)}; it has {', '.join(files)}")
    reached: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            source = files[name].read_text(encoding="utf-8")
            reached[name] = code_digest(source)
            # A package's own file only re-exports, and the library imports from the defining modules (both tested):
            # following it would make a simulation depend on everything else in the package.
            waiting += [found for found in imported_modules(source, files) if files[found].name != "__init__.py"]
    return reached


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's files and their names, at about a second per gigabyte."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def code_digest(source: str) -> str:
    """Return a hash of Python source that ignores comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


_CHECKOUT = Path(__file__).resolve().parents[1]


def project() -> Path:
    """Return the checkout's root, or the working folder where the package is installed without one."""
    return _CHECKOUT if (_CHECKOUT / "_toc.yml").is_file() else Path.cwd()


def artifacts(*parts: str) -> Path:
    """Return a path below ``artifacts/``, the git-ignored folder of everything that can be remade."""
    return project().joinpath("artifacts", *parts)


def results(*parts: str) -> Path:
    """Return a path below ``results/``, the committed tables that the book reads."""
    return project().joinpath("results", *parts)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces ``path`` when the block ends, and is removed after an error.

    The folder is made if it is missing. After a kill or a power cut the file is the old one or the new one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # before the new name: a power cut must not leave an empty file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sqlite_fault(error: Exception, path: Path, *, kind: str, cure: str) -> ValueError | OSError:
    """Return what is wrong with an SQLite file as one clear error, to be raised in place of the original.

    Parameters
    ----------
    error : Exception
        A ``sqlite3.DatabaseError``, or what reading a row's content raised.
    path : Path
    kind : str
        What the file should be, such as "a store of simulations".
    cure : str
        What to do if it is damaged or is something else.
    """
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return OSError(errno.ENOSPC, "No space left on device", str(path))
    if name and not name.startswith(("SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_CORRUPT")):  # no name: not text, not JSON
        advice = "check that it may be written to and that no other program holds it"
        return OSError(f"{path} cannot be used ({error}); {advice}")
    return ValueError(f"{path} is damaged or is not {kind} ({error}); {cure}")
