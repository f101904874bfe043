"""The explorer: its page loads nothing, holds every simulation once, is the same each time, and draws in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import altair as alt
import IPython.display
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from results.made_up import made_up_rows, person_condition

from mri_aug.book.explorer import PERSON_LOSS, STEP, estimates, explore
from mri_aug.book.publishing import notebooks as cells
from mri_aug.provenance import project
from mri_aug.results.comparison import summarise
from mri_aug.results.deposit import export
from mri_aug.results.people import person_scores, summarise_people
from mri_aug.study.conditions import thesis_arms

NOTEBOOK = project() / "notebooks" / "E_explorer.ipynb"
PEOPLE = [person_condition(), person_condition(real_frac=0.3)]
TISSUE = replace(PEOPLE[0], architecture="tissue", policy="none")
PARTS = {  # images, conditions
    "references": ("real", [TISSUE]),
    "people": ("real", PEOPLE),
    "networks": ("real", [replace(PEOPLE[0], architecture="resnet18")]),
    "draft": ("real", thesis_arms(0.3)[:3]),
    "power-50": ("simulated", PEOPLE),
}
SCORES = (
    PERSON_LOSS, "test_subject_accuracy", "test_balanced_accuracy", "test_subject_kappa", "test_ece", "seconds",
)  # fmt: skip
COUNTS = ("n_train", "n_real_people", "n_synthetic")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    parts = []
    for seed, (name, (images, conditions)) in enumerate(PARTS.items()):
        parts.append(made_up_rows(conditions, n_repeats=2, counts=(12, 8), seed=seed).assign(part=name, images=images))
    table = pd.concat(parts, ignore_index=True)
    rng = np.random.default_rng(0)
    table = table.assign(**{name: rng.random(len(table)) for name in SCORES})
    return table.assign(**{name: rng.integers(9, 99, len(table)) for name in COUNTS})


def run_notebook(monkeypatch, record: str) -> list:
    """Run the notebook's cells here, and return what they display."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda value, raw=False: shown.append(value))
    space: dict = {}
    for cell in cells.code_cells(cells.read(NOTEBOOK)):
        exec(cells.with_values(cell.source, {"record": record}), space)
    return shown


@pytest.fixture(scope="module")
def shown(rows, tmp_path_factory) -> list[dict[str, str]]:
    manifest = {"images": "real", "parts": [{"part": name} for name in PARTS]}
    place = export(rows, tmp_path_factory.mktemp("results") / "record", manifest=manifest)
    with pytest.MonkeyPatch.context() as patch:
        return run_notebook(patch, str(place))


class Loaded(HTMLParser):
    """Collect what elements of a page would load."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            self.found += [f"{tag} {value}" for name, value in attrs if name in ("src", "href", "data", "action")]


def spec(page: str) -> dict:
    return json.JSONDecoder().raw_decode(page[page.index("form.lastChild, ") + len("form.lastChild, ") :])[0]


def test_the_notebook_shows_a_chart_and_a_table_that_load_nothing(shown):
    chart, table = shown
    for bundle in shown:
        assert not Loaded(bundle["text/html"]).found
        assert not re.search(r"import\b[^;\n]{0,80}https?:|@import|fetch\(.https?:", bundle["text/html"])
    assert Image.open(io.BytesIO(base64.b64decode(chart["image/png"]))).width > 2 * 700
    assert "image/png" not in table and "90 simulations" in table["text/plain"]


def test_every_simulation_is_there_once(shown, rows):
    chart, table = (bundle["text/html"] for bundle in shown)
    points = pd.read_csv(io.StringIO(spec(chart)["datasets"]["simulations"]))
    assert len(points) == len(points.drop_duplicates(["set", "simulation"])) == len(rows)
    np.testing.assert_allclose(sorted(points["test_accuracy"]), sorted(rows["test_accuracy"]), atol=1e-4)
    listed = json.loads(json.loads(re.search(r'"data_json": ("(?:[^"\\]|\\.)*")', table)[1]))
    assert len({tuple(map(str, row[:4])) for row in listed}) == len(listed) == len(rows)
    assert "by_subject" not in chart + table


def test_the_choice_lists_every_training_set_under_who_was_tested(shown):
    page = shown[0]["text/html"]
    fields = re.findall(r'<fieldset name="([^"]*)"><legend>.*?> (\S+)</label>', page)
    people, images = "held-out people (subject protocol)", "other slices (image protocol)"
    assert fields == [
        (people, "references"), (people, "people"), (people, "networks"), (images, "draft"),
        ("50 simulated people", "power-50"),
    ]  # fmt: skip
    numbers = re.findall(r'name="set" value="(\d+)"( checked)?', page)
    assert [int(number) for number, _ in numbers] == list(range(9))
    assert [bool(checked) for _, checked in numbers] == [True] * 3 + [False] + [
        True
    ] * 5  # networks are not shown first
    assert {param["name"]: param["value"] for param in spec(page)["params"]}["chosen"] == [0, 1, 2]
    assert spec(page)["height"] == 3 * STEP


def test_the_reference_that_knows_all_images_has_a_line(shown):
    table = pd.read_csv(io.StringIO(spec(shown[0]["text/html"])["datasets"]["estimates"]))
    lines = table.dropna(subset="line")
    assert set(lines["set"]) == {0} and set(lines["tested"]) == {"held-out people (subject protocol)"}
    assert len(lines) == lines["metric"].nunique() == table["metric"].nunique() == 7


def test_estimates_are_those_of_the_chapters(rows):
    part = rows[rows["part"].isin(["people", "references"])].assign(tested="people", name=lambda r: r["condition"])
    part["set"] = part.groupby("name").ngroup()
    found = estimates(part, {PERSON_LOSS: True, "test_accuracy": False}).set_index(["metric", "name"])
    people, medians = summarise_people(person_scores(part)), summarise(part, "test_accuracy")
    for metric, table, value in ((PERSON_LOSS, people, "log_loss"), ("test_accuracy", medians, "median")):
        expected = table.set_index("condition")
        for column, name in ((value, "value"), ("low", "low"), ("high", "high"), ("n", "n")):
            pd.testing.assert_series_equal(
                found.loc[metric, name].sort_index(), expected[column].sort_index(), check_names=False
            )
    best = found[found["place"] == 1]["value"]
    assert best.to_dict() == {
        key: found.loc[key[0], "value"].agg("min" if key[0] == PERSON_LOSS else "max") for key in best.index
    }


def toy(name: str = "a") -> dict:
    sets = pd.DataFrame({"set": [0], "name": [f'{name} </script> & "b"'], "tested": "people", "part": "one"})
    mark = alt.Chart(pd.DataFrame({"x": [1.0], "name": sets["name"]})).mark_point().encode(x="x", text="name")
    return explore(alt.layer(mark), sets, {"loss": "log <loss>"}, parts=[])


def test_same_input_same_bytes_and_two_do_not_mix():
    first, again, other = toy(), toy(), toy("c")
    assert first == again
    first_id, other_id = (re.search(r'id="(explorer-\w+)"', one["text/html"])[1] for one in (first, other))
    assert first_id != other_id
    page = first["text/html"]
    assert (
        page.count("</script>") == 2 and "a &lt;/script&gt; &amp; &quot;b&quot;" in page and "log &lt;loss&gt;" in page
    )


def test_without_a_deposit_the_notebook_says_so_and_ends(monkeypatch, tmp_path):
    (message,) = run_notebook(monkeypatch, str(tmp_path / "nothing"))
    assert "There is no deposit" in message.data


# --- in a browser ----------------------------------------------------------------------------------------------

PROBE = """<script>
const faults = [], counts = [], next = (work) => setTimeout(work, 700);
window.addEventListener("error", (event) => faults.push(event.message));
console.error = console.warn = (...words) => faults.push(words.join(" "));
const count = () => counts.push([document.querySelectorAll(".explorer .role-mark.mark-symbol path").length,
  document.querySelectorAll("#simulations tbody tr").length]);
const change = (name, value) => {
  const menu = document.querySelector(`.explorer [name="${name}"]`);
  menu.value = value;
  menu.dispatchEvent(new Event("change", {bubbles: true}));
};
const click = (what) => document.querySelector(what).click();
const steps = [
  count, () => change("metric", "test_ece"), count, () => change("tested", "other slices (image protocol)"), count,
  () => click('fieldset:not([hidden]) input[name="set"]'), count,
  () => click("fieldset:not([hidden]) legend input"), count,
  () => click(".explorer button"), count,
  () => { document.body.innerHTML = `<pre id="result">${JSON.stringify({faults, counts})}</pre>`; },
];
const go = () => { const step = steps.shift(); if (step) { step(); next(go); } };
window.addEventListener("load", () => setTimeout(go, 3000));
</script>"""


def test_the_chart_follows_the_choices_in_a_browser(shown, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    page = tmp_path / "page.html"
    page.write_text(
        f'<!doctype html><html><head><meta charset="utf-8">{PROBE}</head><body>'
        + "".join(bundle["text/html"] for bundle in shown) + "</body></html>", encoding="utf-8",
    )  # fmt: skip
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(re.findall(r'<pre id="result">(.*?)</pre>', done.stdout)[-1])
    assert found["faults"] == []
    # ten simulations and a diamond for each training set; the image protocol has three training sets
    marks, lines = zip(*found["counts"], strict=True)
    assert marks == (33, 33, 33, 22, 33, 33)
    assert set(lines) == {10}
