"""The commands and programs of README and docs end as their pages say."""

import pytest

from tests.support.docs_pages import ROOT, pages, snippets
from tests.support.reader import do_what_it_says

pytestmark = pytest.mark.framework

PAGES = [
    page
    for page in pages()
    if not page.is_relative_to(ROOT / "examples")
    and any(snippet.mark == "run" for snippet in snippets(page))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_done(page, tmp_path, reader_home):
    do_what_it_says(page, tmp_path / "work", reader_home)
