"""A real browser without a window: Debian's chromium, or Chrome, through its own driver."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="there is no chromium with its driver: apt-get install chromium chromium-driver",
)


@contextmanager
def headless() -> Iterator[Chrome]:
    """Run a browser as long as the context lasts."""
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    # A sandbox and shared memory of its own are not to be had in every container.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def set_size(browser: Chrome, width: int, height: int) -> None:
    """Show the page at this size in CSS pixels, which may be narrower than a window can be."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def set_scheme(browser: Chrome, scheme: str) -> None:
    """Show the page as to somebody who prefers `light` or `dark`."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints(browser: Chrome) -> list[str]:
    """Return what the browser's console says since it was last asked."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [json.dumps(entry) for entry in entries]


# The contrast of each text with what is behind it, by the formula of the WCAG, for those below 4.5.
_FAINT = """
const channels = (color) => color.match(/[\\d.]+/g).map(Number);
const linear = (value) => value <= 10.31475 ? value / 3294.6 : ((value / 255 + .055) / 1.055) ** 2.4;
const light = (color) => {
  const [red, green, blue] = channels(color).map(linear);
  return .2126 * red + .7152 * green + .0722 * blue;
};
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (channels(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
const texts = [...document.querySelectorAll("body *")].filter((element) =>
  element.checkVisibility() && (element.matches("input, textarea, select") ||
  [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())));
return texts.map((element) => {
  const both = [light(getComputedStyle(element).color), light(behind(element))];
  const [dim, bright] = both.sort((one, other) => one - other);
  return [element.outerHTML.slice(0, 80), (bright + .05) / (dim + .05)];
}).filter(([, contrast]) => contrast < 4.5);
"""

_UNNAMED = """
return [...document.querySelectorAll("a, button, input, select, textarea")].filter((element) =>
  !(element.labels?.length || element.textContent.trim() || element.ariaLabel)
).map((element) => element.outerHTML);
"""

_TOO_WIDE = "return document.documentElement.scrollWidth - innerWidth"


def obstacles(browser: Chrome) -> dict[str, Any]:
    """Return what would keep somebody from using the page; empty where nothing does."""
    found = {
        "text too faint": browser.execute_script(_FAINT),
        "controls without a name": browser.execute_script(_UNNAMED),
        "wider than the screen by": max(0, browser.execute_script(_TOO_WIDE)),
    }
    return {name: value for name, value in found.items() if value}
