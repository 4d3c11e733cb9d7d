"""What the examples' READMEs say can be done, as they say it."""

import pytest

from tests.support.docs_pages import ROOT, pages
from tests.support.reader import do_what_it_says

pytestmark = pytest.mark.framework

EXAMPLES = [page for page in pages() if page.parent.parent == ROOT / "examples"]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.parent.name)
def test_an_example_does_what_it_says(page, tmp_path, reader_home):
    do_what_it_says(page, tmp_path / "work", reader_home)
