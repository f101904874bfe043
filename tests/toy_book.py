"""A book of two notebooks and three pages, for the tests of the machinery that makes the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mri_aug.provenance import project

PARAMETERS = 'dataset: str = "phantom"  # hub id, folder or "phantom"\nreal_frac: float = 0.3  # share of real images'
RESULTS = [
    new_markdown_cell(
        "# Results\n\nThe share is {glue:text}`share:.2f`, see {numref}`fig-line` and {numref}`tab-toy`."
    ),
    new_code_cell(PARAMETERS, metadata={"tags": ["parameters", "hide-input"]}),
    new_code_cell(
        "import matplotlib.pyplot as plt\nimport numpy as np\nimport pandas as pd\n\n"
        "from mri_aug.book.report import glue_values, numbered_table, use_book_style\n\n"
        "use_book_style()\nglue_values(share=np.float64(real_frac), source=dataset)\n"
        "glue_values(claim_rising='holds' if real_frac > 0 else 'fails')",
        metadata={"tags": ["hide-input"]},
    ),
    new_code_cell(
        "_, ax = plt.subplots()\nax.plot([0, real_frac, 1], [1, 2, 3], marker='o')\n"
        "_ = ax.set(xlabel='real share', ylabel='value')",
        metadata={
            "mystnb": {
                "image": {"alt": "A *rising* line of sec-toy"},
                "figure": {"caption": "A *rising* line over 4 x 4 points. It rises.", "name": "fig-line"},
            }
        },
    ),
    new_code_cell(
        "numbered_table(pd.DataFrame({'class': ['non', 'mild'], 'share': [real_frac, None]}), "
        "'The shares', 'tab-toy', formats={'share': '.1%'})"
    ),
    new_code_cell(
        "import os\nfrom tqdm.auto import tqdm\nlist(tqdm([1], desc='a bar that leaves a widget'))\n"
        "print(real_frac, os.environ['TQDM_DISABLE'], os.path.basename(os.getcwd()))",
        metadata={"tags": ["remove-cell"]},
    ),
]
REPRODUCING = [
    new_markdown_cell("# Reproducing\n\n(sec-toy)=\n## Costs\n\n{numref}`tab-costs` is in {numref}`sec-toy`, and $a$."),
    new_code_cell('executed: str = ""', metadata={"tags": ["parameters", "hide-input"]}),
    new_code_cell(
        "import pandas as pd\nfrom mri_aug.book.report import numbered_table\n"
        "numbered_table(pd.DataFrame({'what': ['time'], 'seconds': [-0.0]}), '**Costs.** All of them', 'tab-costs')"
    ),
    new_code_cell(
        "from mri_aug.book.publishing.notebooks import executions\n"
        'print(executions(executed, without=["B_reproducing"]).notebook.to_list() if executed else "none")'
    ),
]
PAGES = {
    "book/index.md": "# A toy book\n\nIt says {cite:t}`knuth1984`, and $e^{i\\pi} = -1$.\n\n```{math}\n:label: eq-one\n"
    "a = b\n```\n\nBy {eq}`eq-one` and {numref}`fig-line` the share is "
    "{glue:text}`../notebooks/07_results.ipynb::share:.2f`. {claim}`rising` The line *rises* to 3. It ends there.\n",
    "book/lists.md": "# Lists\n\n```{figurelist} figure\n```\n\n```{figurelist} table\n```\n",
    "book/bibliography.md": "# Bibliography\n\n```{bibliography}\n```\n",
    "book/references.bib": "@article{knuth1984, author={Knuth, Donald}, title={Literate Programming}, "
    "journal={The Computer Journal}, year={1984}}\n",
}
TOC = {
    "format": "jb-book",
    "root": "book/index",
    "parts": [
        {"caption": "Front", "numbered": False, "chapters": [{"file": "book/lists"}]},
        {"caption": "Thesis", "numbered": True, "chapters": [{"file": "notebooks/07_results"}]},
        {"caption": "Appendices", "numbered": True, "chapters": [{"file": "notebooks/B_reproducing"}]},
        {"caption": "Back", "numbered": False, "chapters": [{"file": "book/bibliography"}]},
    ],
}


def make_toy_book(folder: Path) -> Path:
    """Write the toy's sources below ``folder``, with the project's own configuration, and return ``folder``."""
    for name, text in PAGES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "_toc.yml").write_text(yaml.safe_dump(TOC, sort_keys=False))
    shutil.copy(project() / "_config.yml", folder)
    for name in ("_static", "_latex", "_ext"):
        shutil.copytree(project() / "book" / name, folder / "book" / name)
    (folder / "notebooks").mkdir()
    for name, cells in (("07_results", RESULTS), ("B_reproducing", REPRODUCING)):
        write_notebook(folder / "notebooks" / f"{name}.ipynb", cells)
    return folder


def write_notebook(path: Path, cells: list) -> None:
    """Write a notebook without outputs."""
    notebook = new_notebook(cells=[nbformat.from_dict(dict(cell)) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


def change_cell(path: Path, old: str, new: str) -> None:
    """Replace text in a notebook's cells."""
    notebook = nbformat.read(path, as_version=4)
    assert any(old in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)
