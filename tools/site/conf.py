"""How Sphinx builds the site; tools/site/build.py gathers its pages and starts it (``make site``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref

from course_lib import __version__
from tools.site.api import context, docstring, meanings
from tools.site.build import ROOT
from tools.site.pages import leads_to, lesson

project = "Known Unknowns"
author = "the authors of Known Unknowns"
copyright = "the authors of Known Unknowns; Apache-2.0"
release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nb_execution_mode = "off"  # lessons are shown as they are stored
nb_render_markdown_format = "myst"
nb_code_prompt_show, nb_code_prompt_hide = "Show the set-up cell", "Hide the set-up cell"  # the only folded one
myst_enable_extensions = ["dollarmath", "tasklist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type"]

highlight_language = "none"  # a drawing in a docstring is no Python; fences and cells name their language
default_role = "literal"  # docstrings mark code with one backtick
autosummary_context = context()
autodoc_default_options = {"members": True, "undoc-members": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
toc_object_entries = False
nitpicky = True  # a docstring that names a module or function that is gone
nitpick_ignore_regex = [("py:(class|data|exc|obj)", ".*")]  # annotations of other packages, constants of a module's own
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "Known Unknowns"
templates_path = [str(Path(__file__).parent / "templates")]  # autosummary looks for a relative one beside the pages
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_math_renderer = "mathml"


def read_lesson(app: Any, page: str, source: list[str]) -> None:
    """Prepare a stored notebook, in place."""
    if page.startswith("notebooks/"):
        source[0] = lesson(source[0])


def turn_links(app: Any, doctree: nodes.document) -> None:
    """Let a link to a file that is no page lead to GitHub; a badge, which would be loaded, becomes its words."""
    env = app.env
    for link in list(doctree.findall(pending_xref)):
        if link["reftype"] != "myst" or link["refdomain"] or not (
                target := leads_to(link["reftarget"], page=env.docname, root=ROOT)):
            continue
        if target in env.found_docs:
            link.attributes.update(refdomain="doc", reftarget=target, reftargetid=None)
        else:
            link.replace_self(nodes.reference("", "", *link.children, refuri=target))
    for badge in list(doctree.findall(nodes.image)):
        if "://" in badge["uri"]:
            badge.replace_self(nodes.Text(badge["alt"]))


def wrap_sentences(app: Any, doctree: nodes.document) -> None:
    """Mark printed text that has no columns: it may be broken into lines, a printed table may not."""
    for printed in doctree.findall(nodes.literal_block):
        if "output" in printed["classes"] and not re.search(r"\S {2,}\S", printed.astext()):
            printed["classes"].append("wraps")


def read_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring of ours, in place, before Napoleon reads its sections; a constant has not that of its type."""
    inherited = what == "data" and (type(obj).__doc__ or "").strip().startswith("\n".join(lines).strip())
    lines[:] = [] if inherited else docstring(lines)


def name_in_full(app: Any, doctree: nodes.document) -> None:
    """Let a short name in a signature mean what its module means; Sphinx would take any object with that ending."""
    for link in doctree.findall(pending_xref):
        module = link.get("py:module") or ""
        if not module.startswith("course_lib.") or "." in link["reftarget"]:
            continue
        if full := meanings(module).get(link["reftarget"]):
            link["reftarget"] = full
        elif link["reftype"] in ("class", "obj") and "refspecific" in link:
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
    app.connect("source-read", read_lesson)
    app.connect("doctree-read", turn_links)
    app.connect("doctree-read", wrap_sentences)
    app.connect("doctree-read", name_in_full)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
