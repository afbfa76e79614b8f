"""docs/compile.md shows what the compiler makes now: `make docs-compile` writes it."""

import pytest

from tools import compile_page


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    return compile_page.PAGE.read_text()


def test_what_is_the_same_on_every_machine_is_not_stale(page):
    made = compile_page.fill(page, compile_page.PORTABLE)
    assert made == page, "run `make docs-compile`"


def test_each_form_of_the_page_is_made(page):
    names = compile_page.MADE.findall(page)
    made = compile_page.makers(compile_page.run_step(page))
    assert [name for name, _ in names] == list(made)
    for name, shown in names:
        assert shown.count("\n") == 1 if name == "processor" else shown.startswith("```text\n")
        assert made[name]()


def test_a_changed_form_would_be_seen(page):
    wrong = page.replace("= relu(", "= tanh(")
    assert wrong != page
    assert compile_page.fill(wrong, compile_page.PORTABLE) == page
