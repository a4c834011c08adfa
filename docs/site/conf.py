"""How Sphinx builds the site; its pages are gathered by course_lib/site.py, which also starts it (``make site``)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref

from course_lib import __version__
from course_lib.site_api import docstring, meanings
from course_lib.site_pages import alternative_texts

project = "Known Unknowns"
author = "the authors of Known Unknowns"
copyright = "the authors of Known Unknowns; Apache-2.0"
release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nb_execution_mode = "off"  # lessons are shown as they are stored
nb_render_markdown_format = "myst"
nb_code_prompt_show, nb_code_prompt_hide = "Show the set-up cell", "Hide the set-up cell"  # the only folded one
myst_enable_extensions = ["dollarmath", "tasklist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type"]

highlight_language = "none"  # a drawing in a docstring is no Python; fences and cells name their language
default_role = "literal"  # docstrings mark code with one backtick
autodoc_default_options = {"members": True, "undoc-members": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
toc_object_entries = False
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "Known Unknowns"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_math_renderer = "mathml"


def describe_pictures(app: Any, doctree: nodes.document) -> None:
    """Give each picture of a lesson its alternative text; MyST-NB names a picture's file by its SHA-256."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    texts = alternative_texts(nbformat.read(path, as_version=4))
    for picture in doctree.findall(nodes.image):
        if text := texts.get(Path(picture["uri"]).stem):
            picture["alt"] = text


def wrap_sentences(app: Any, doctree: nodes.document) -> None:
    """Mark printed text that has no columns: it may be broken into lines, a printed table may not."""
    for printed in doctree.findall(nodes.literal_block):
        if "output" in printed["classes"] and not re.search(r"\S {2,}\S", printed.astext()):
            printed["classes"].append("wraps")


def read_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring of ours, in place, before Napoleon reads its sections."""
    lines[:] = docstring(lines)


def name_in_full(app: Any, doctree: nodes.document) -> None:
    """Let a short name in a signature mean what its module means; Sphinx would take any object with that ending."""
    read = cache(meanings)
    for link in doctree.findall(pending_xref):
        module = link.get("py:module") or ""
        if not module.startswith("course_lib.") or "." in link["reftarget"]:
            continue
        if full := read(module).get(link["reftarget"]):
            link["reftarget"] = full
        elif "refspecific" in link:
            del link["refspecific"]


def as_mathml(tex: str, *, block: bool) -> str:
    r"""A formula as MathML, which every browser draws by itself; ``\dots`` is the one name that docutils lacks."""
    return tex2mathml(re.sub(r"\\dots\b", r"\\ldots", tex), as_block=block)


def visit_math(writer: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    writer.body.append(as_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_math_block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="math">{as_mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Register what Sphinx and MyST-NB do not do by themselves."""
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", wrap_sentences)
    app.connect("doctree-read", name_in_full)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
