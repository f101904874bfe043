"""Where files live. Nothing here reads or writes a file."""

from __future__ import annotations

from pathlib import Path

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
