"""A chart of every simulation in a static page, where readers choose the score, the protocol and the training sets."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from html import escape
from string import Template

import altair as alt
import pandas as pd
import vl_convert

from mri_aug.results.comparison import summarise
from mri_aug.results.people import SCORES, person_scores, scores_in, summarise_people, whole_repeats

PERSON_LOSS = f"test_{SCORES[-1]}_subject_cross_entropy"  # its interval is over people, where the rows keep them
STEP = 34  # pixels of a training set: its name, and below it its simulations
_BOX = '<div><label><input type="checkbox" {}> {}</label></div>'
# Vega's scripts declare names that Sphinx's scripts declare too: each has its own scope
_PAGE = Template("""<form class="explorer" id="$id" aria-label="Choice of simulations">
<p><label>Score <select name="metric">$metrics</select></label></p>
<p><label>Tested on <select name="tested">$tested</select></label></p><details><summary>Training sets</summary>$boxes
<button>As at first</button></details><div style="width: 100%"></div></form>
<script>(() => {$bundle})()</script><script>(() => {
  const form = document.getElementById("$id");
  vegaEmbed(form.lastChild, $spec, {renderer: "svg", actions: false, logLevel: 1}).then(({view}) => {
    const show = ({target}) => {
      if (target.matches("legend input"))  // it stands for all below it
        for (const box of target.closest("fieldset").elements) box.checked = target.checked;
      const parts = [...form.querySelectorAll("fieldset")];
      for (const one of parts) one.hidden = one.disabled = one.name !== form.tested.value;
      for (const {elements: [part, ...sets]} of parts) part.checked = sets.every((one) => one.checked);
      const chosen = new FormData(form).getAll("set").map(Number);  // without those of a disabled part
      view.signal("metric", form.metric.value).signal("tested", form.tested.value).signal("chosen", chosen);
      view.height($step * Math.max(1, chosen.length)).run();
    };
    form.addEventListener("change", show);
    form.addEventListener("submit", (event) => { event.preventDefault(); form.reset(); show(event); });
    show({target: form});
  });
})()</script>""")


def estimates(rows: pd.DataFrame, metrics: Mapping[str, bool]) -> pd.DataFrame:
    """Return the estimate of each training set and metric with its interval, and its place among the others.

    Takes a study's rows with ``name`` of the training set, its number ``set``, and ``tested``, on whom; and columns of
    scores, each with whether less is better. Adds ``metric``, ``value`` and ``place`` to what the chapters' summaries
    have. A value is a median over simulations, but of ``PERSON_LOSS`` a mean where rows keep people's probabilities.
    """
    tables = []
    for _, part in rows.groupby("tested", sort=False):
        numbers = part.drop_duplicates("name").set_index("name")[["set", "tested"]]
        for metric, lower_is_better in metrics.items():
            table = summarise(part, metric, by="name").rename(columns={"median": "value"})
            if metric == PERSON_LOSS and SCORES[-1] in scores_in(part):
                graded = person_scores(whole_repeats(part), by="name")
                table = summarise_people(graded).rename(columns={"log_loss": "value"})
            table = table.rename(columns={"condition": "name"}).astype({"name": str})
            place = table["value"].rank(method="first", ascending=lower_is_better)
            tables.append(table.assign(metric=metric, place=place).join(numbers, on="name").dropna(subset="value"))
    return pd.concat(tables, ignore_index=True)


def explore(chart: alt.LayerChart, sets: pd.DataFrame, words: Mapping[str, str], *, parts: Collection[str]) -> dict:
    """Return a chart in an element of HTML that holds all it needs, and a picture of its first view, by MIME type.

    The chart reads the parameters ``metric``, ``tested`` and ``chosen`` (numbers of sets); ``words`` are the metrics by
    name. ``sets`` has ``set``, ``name``, ``tested`` and ``part`` of each training set; those of ``parts`` come first.
    """
    wanted, tested = sets["part"].isin(parts), sets["tested"].unique()
    wanted |= ~wanted.groupby(sets["tested"]).transform("any")
    chosen = sets["set"][wanted & (sets["tested"] == tested[0])].tolist()
    state = {"metric": next(iter(words)), "tested": tested[0], "chosen": chosen}
    chart = chart.add_params(*(alt.param(name, value=value) for name, value in state.items()))
    spec = chart.properties(width="container", height=STEP * len(chosen), background="transparent").to_dict()
    text, boxes = json.dumps(spec, ensure_ascii=False).replace("<", "\\u003c"), ""  # "<" could end the script
    inputs = 'name="set" value="' + sets["set"].astype(str) + wanted.map({True: '" checked', False: '"'})
    for (on, part), group in sets.groupby(["tested", "part"], sort=False):
        boxes += f'<fieldset name="{escape(on)}"><legend>{_BOX.format("", escape(part))}</legend>'
        boxes += "".join(map(_BOX.format, inputs[group.index], group["name"].map(escape))) + "</fieldset>"
    page = _PAGE.substitute(
        id=f"explorer-{hashlib.sha256(text.encode()).hexdigest()[:12]}", spec=text, step=STEP, boxes=boxes,
        metrics="".join(f'<option value="{name}">{escape(word)}' for name, word in words.items()),
        tested="".join(f"<option>{escape(one)}" for one in tested), bundle=vl_convert.javascript_bundle(),
    )  # fmt: skip
    still = base64.b64encode(vl_convert.vegalite_to_png(spec | {"width": 720, "background": "white"}, scale=2))
    return {"text/html": page, "image/png": still.decode(), "text/plain": f"{len(sets)} training sets"}
