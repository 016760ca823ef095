"""The site builds without a warning and without a network."""

import os
import re
import subprocess
import sys

import pytest

from mlproject.config import PROJECT_ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # a proxy that nobody answers: whatever asked for a network would fail
    environment = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment |= {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_there(site) -> None:
    pages = {path.relative_to(PROJECT_ROOT / "docs") for path in (PROJECT_ROOT / "docs").rglob("*.md")}
    assert {page.with_suffix(".html") for page in pages} <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site) -> None:
    """Links may lead away; scripts, styles, fonts and pictures may not."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]*rel=\"(?:stylesheet|icon|preconnect)\"[^>]*href=\"([^\"]+)\"", text)
        assert loaded
        assert [target for target in loaded if re.match(r"(https?:)?//", target)] == [], path.name
    for path in site.rglob("*.css"):
        assert "@import" not in path.read_text(encoding="utf-8")


def test_files_of_the_root_are_pages(site) -> None:
    assert "The plan of the house" in (site / "contributing.html").read_text(encoding="utf-8")
    assert 'href="plan.html"' in (site / "contributing.html").read_text(encoding="utf-8")
    assert "10.17632/n2rbrb9t4f.1" in (site / "data.html").read_text(encoding="utf-8")
