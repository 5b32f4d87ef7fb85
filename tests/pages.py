"""Checks that are the same for all self-contained pages."""

from __future__ import annotations

import html
import re


def text_of(page: str, between: str = "") -> str:
    """Return the text of a page without style, and with its tags replaced."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", between, body)).split())


def assert_self_contained(page: str, attack: str, *files: str) -> None:
    """Check that a page needs no other file than the given ones, and that names from files are escaped."""
    bare = re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<iframe", bare)
    assert attack not in page
    assert attack in html.unescape(page)
    links = re.findall(r"(?:src|srcset|href)=\"([^\"]*)\"", bare)
    ids = {f"#{name}" for name in re.findall(r"id=\"([^\"]*)\"", page)}
    assert {link for link in links if not link.startswith("data:")} <= {*ids, *files}
    assert all(re.search(r' alt="[^"]+"', image) for image in re.findall(r"<img[^>]*>", page))
    assert all('role="img" aria-label="' in drawing for drawing in re.findall(r"<svg[^>]*>", page))
    assert '<html lang="en">' in page
