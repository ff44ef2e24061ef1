"""Checks of pages: on which devices, in which colour schemes, and which faults are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Locator, Page

PHONE: Final[dict[str, Any]] = {
    "viewport": {"width": 360, "height": 740},
    "has_touch": True,
    "is_mobile": True,
}
DEVICES: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "light-phone": {"color_scheme": "light", **PHONE},
    "dark-phone": {"color_scheme": "dark", **PHONE},
}

WIDER: Final = """() => {
  const width = document.documentElement.clientWidth + 0.5, range = new Range(), wider = [];
  const scrolls = (one) => one && one !== document.body
    && (/auto|scroll|hidden|clip/.test(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.nodeType === 1 ? node : node.parentElement;
    range.selectNodeContents(node);
    const box = (node === element ? node : range).getBoundingClientRect();
    if (box.right > width && !scrolls(element)) wider.push(element.outerHTML.slice(0, 120));
  }
  return wider;
}"""
"""Elements that stick out of the window, or whose text does, and that can't be scrolled to within another."""


def box(place: Locator) -> FloatRect:
    found = place.bounding_box()
    assert found is not None
    return found


def faults(page: Page) -> list[str]:
    """Return what axe finds: how grave, which rule, and where."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['impact']} {one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]
