"""A Sphinx extension: numbers keep their signs and units, and the theme's pages are mended.

It changes no word. What things look like is up to ``book/_static/thesis.css``.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from mri_aug.book.publishing.pages import short_title

# What a line may not break, and signs. A text begins with the character before it, which may be in another node: the
# number before " % of" is an element of its own when it is quoted from a notebook.
_TYPOGRAPHY = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"(?<=\d)\s?%", "\u00a0%"),
    (r"(?<=\d)\s(?=(?:s|ms|min|h|px|kB|MB|GB|mm|dpi)\b)", "\u00a0"),
    (r"(?<=\d)\s[x×]\s(?=\d)|(?<=\S)\s×\s", "\u00a0×\u00a0"),
    (r"(?<=[\w)}])\s([=<>≤≥≈±])\s", "\u00a0\\1\u00a0"),
    (r"(?<=[\[(])([−\d.]+)(,| to) (?=[−\d.]+[\])])", "\\1\\2\u00a0"),
    (r"\b(Figs?\.|Tables?|Eqs?\.|Chapters?|Sections?|Appendix|Appendices)\s(?=[\dA-Z(])", "\\1\u00a0"),
    (r"(?<=[\s(\[,:±])-(?=\d)", "−"),
    (r"(?<=[^\w.,])−(?=0(?:\.0+)?(?![\d.,]*\d))", ""),  # a number rounded to zero has no sign
)]  # fmt: skip
_VERBATIM = (nodes.literal, nodes.FixedTextElement, nodes.math, nodes.math_block, nodes.raw, nodes.comment)


def typeset(text: str, before: str = " ") -> str:
    """Return a text of a page with no-break spaces and signs, given the character before it."""
    text = before + text
    for pattern, replacement in _TYPOGRAPHY:
        text = pattern.sub(replacement, text)
    return text[1:]


def _typeset(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Set numbers and units, mark the first column of tables as heads of the rows, and clean alternative texts."""
    html = app.builder.format == "html"
    for element in doctree.findall(nodes.Element):
        for place, text in enumerate(element.children):
            if isinstance(text, nodes.Text) and not isinstance(element, _VERBATIM):
                before = element[place - 1].astext()[-1:] if place else ""
                element[place] = nodes.Text(typeset(str(text), before or " "))
    for formula in list(doctree.findall(nodes.math)) if html else ():  # a box, from which a line parts its full stop
        parent, place = formula.parent, formula.parent.index(formula)
        after = parent[place + 1 : place + 2]
        if after and isinstance(after[0], nodes.Text) and (mark := re.match(r"\S+", after[0])):
            together = nodes.inline("", "", formula, nodes.Text(mark[0]), classes=["together"])
            parent[place : place + 2] = [together, nodes.Text(after[0][mark.end() :])]
    for table in doctree.findall(nodes.tgroup) if html else ():
        table.next_node(nodes.colspec)["stub"] = 1
    for figure in doctree.findall(nodes.figure):
        image, caption = figure.next_node(nodes.image), figure.next_node(nodes.caption)
        if image and caption and re.search(r"[*`{]|\b(?:fig|tab|eq|sec|ch|app)-\w", image.get("alt", "")):
            image["alt"] = short_title(caption)  # it was taken from the caption's source, marks and labels with it


_MENDED = (
    (r"(?m)^.*(?:THEBE_JS_URL|sphinx-thebe).*\n", ""),  # declared twice, which is an error, and not used
    (r'(?s)\s*<script type="text/x-thebe-config">.*?</script>\s*<script>kernelName.*?</script>', ""),
    (r'\s*<meta name="viewport" content="width=device-width, initial-scale=1" ?/>', ""),  # the second and third
    (r'<th class="(?=head)', '<th scope="col" class="'),
    (r'<th class="(?=stub)', '<th scope="row" class="'),
    (r"(<title>)(\d+\. )", r"\1Chapter \2"),
    (r"(<title>)([A-Z]\. )", r"\1Appendix \2"),
    (r'(<h1><span class="section-number">)(\d+)\. ', r"\1Chapter \2 "),
    (r'(<h1><span class="section-number">)([A-Z])\. ', r"\1Appendix \2 "),
)
_ICON = re.compile(r'"?([a-z0-9-]+)"?:\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
_MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")  # of 24 MB in all


def _mend(app: Sphinx, fault: Exception | None) -> None:
    """Mend the theme's pages, and remove what they do not load: other MathJaxes, icons, maps of minified scripts."""
    if fault or app.builder.format != "html":
        return
    static, icons = Path(app.outdir, "_static"), {"xmark"}  # that one is written by a script
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for pattern, replacement in _MENDED:
            page = re.sub(pattern, replacement, page)
        icons.update(re.findall(r"\bfa-([a-z-]+)", page))
        path.write_text(page, encoding="utf-8")
    for path in static.rglob("*.*"):
        inside = path.relative_to(static).as_posix().removeprefix("mathjax/")
        if path.suffix == ".map" or (static / "mathjax" in path.parents and not inside.startswith(_MATHJAX)):
            path.unlink()
    script = static / "scripts" / "fontawesome.js"
    trimmed = _ICON.sub(lambda icon: icon[0] if icon[1] in icons else "", script.read_text(encoding="utf-8"))
    script.write_text(trimmed, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect both to Sphinx: when the references of a page are words, and when MathJax is copied."""
    app.connect("doctree-resolved", _typeset, priority=900)
    app.connect("build-finished", _mend, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
