"""The README's example runs, and what it names exists."""

from __future__ import annotations

import re

from mri_aug.provenance import project


def test_the_example_runs_as_printed(tmp_path, monkeypatch, capsys):
    text = (project() / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(example.strip().splitlines()) <= 20, "a whole study fits in about twenty lines"
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert len(names["rows"]) == 4 * 3 and names["rows"]["protocol"].eq("subject").all()
    assert "30 % real + 70 % morph" in capsys.readouterr().out


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
