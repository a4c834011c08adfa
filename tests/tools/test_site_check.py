"""The checker of the site finds dead links, silent pictures and headings out of order, and nothing in a sound page."""

import pytest

from course_lib.site_check import read_page, site_faults

SOUND = '<html lang="en"><body><h1>A</h1><h2 id="two">B</h2>{}</body></html>'


def found(tmp_path, body, **others):
    (tmp_path / "index.html").write_text(SOUND.format(body), encoding="utf-8")
    for name, text in others.items():
        (tmp_path / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return [fault for fault in site_faults(tmp_path) if fault.startswith("index.html: ")]


@pytest.mark.parametrize("body", [
    '<a href="#two">b</a>',
    '<a href="#">top</a>',
    '<a href="other.html#three">c</a>',
    '<a href="other%2Ehtml?highlight=x#three">c</a>',
    '<a href="https://example.org/nowhere">out</a>',
    '<a href="mailto:a@example.org">mail</a>',
    '<img src="dot.png" alt="A dot">',
    '<img src="data:image/png;base64,aGk=" alt="A dot">',
    '<a name="old"></a><a href="#old">d</a>',
    "<h3>C</h3><h2>D</h2>",
    '<script>"<img src=lost.png>"</script>',
])
def test_a_sound_page_has_no_faults(tmp_path, body):
    assert found(tmp_path, body, other_html='<h1 id="three">O</h1>', dot_png="x") == []


@pytest.mark.parametrize(("body", "fault"), [
    ('<a href="gone.html">c</a>', "a link to gone.html, which is not there"),
    ('<a href="other.html#nine">c</a>', "a link to other.html#nine, a page without that place"),
    ('<a href="#nine">c</a>', "a link to #nine, a page without that place"),
    ('<a href="">c</a>', "a link that leads nowhere"),
    ('<a href="/other.html">c</a>', "a link to /other.html, which is not there"),
    ('<a href="folder/">c</a>', "a link to folder/, which is not there"),
    ('<img src="dot.png">', "a picture without alternative text: dot.png"),
    ('<img src="dot.png" alt=" ">', "a picture without alternative text: dot.png"),
    ('<img src="gone.png" alt="A dot">', "it loads gone.png, which is not there"),
    ('<script src="gone.js"></script>', "it loads gone.js, which is not there"),
    ('<link rel="stylesheet" href="gone.css">', "it loads gone.css, which is not there"),
    ('<script src="https://example.org/a.js"></script>', "it loads https://example.org/a.js from elsewhere"),
    ("<h4>D</h4>", "a heading h4 directly after h2"),
    ("<h1>D</h1>", "2 main headings (h1) instead of one"),
])
def test_each_fault_is_named_with_its_page(tmp_path, body, fault):
    (one,) = found(tmp_path, body, other_html='<h1 id="three">O</h1>', dot_png="x")
    assert one.startswith(f"index.html: {fault}")


def test_a_link_to_a_folder_means_its_index(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text(SOUND.format('<a href="../index.html#two">up</a>'))
    (tmp_path / "index.html").write_text(SOUND.format('<a href="folder/">down</a>'))
    assert site_faults(tmp_path) == []


def test_a_page_that_begins_with_a_second_level_is_named(tmp_path):
    (tmp_path / "a.html").write_text('<html lang="en"><h2>B</h2></html>')
    assert site_faults(tmp_path) == ["a.html: 0 main headings (h1) instead of one",
                                     "a.html: a heading h2 directly after nothing"]


def test_a_page_without_a_language_is_named(tmp_path):
    (tmp_path / "a.html").write_text("<h1>B</h1>")
    assert site_faults(tmp_path) == ["a.html: no language: write <html lang=...>"]


def test_an_empty_folder_is_no_site(tmp_path):
    assert site_faults(tmp_path) == [f"{tmp_path}: no pages there"]


def test_headings_are_read_in_their_order():
    assert read_page("<h1>a</h1><p>b</p><H3>c</H3><h2>d</h2>").headings == [1, 3, 2]
