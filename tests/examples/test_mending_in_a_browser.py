"""The example application as a person uses it, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.examples.browser import (
    complaints,
    headless,
    needs_browser,
    obstacles,
    set_scheme,
    set_size,
)

pytestmark = [needs_browser, pytest.mark.model]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with headless() as browser:
        yield browser


@pytest.fixture
def page(browser: Chrome, mending: str) -> Iterator[Chrome]:
    """The start page; whatever the test does, the browser must have nothing to complain about."""
    set_size(browser, 1200, 900)
    browser.get(mending)
    yield browser
    assert complaints(browser) == []


def named(page: Chrome, name: str) -> WebElement:
    return page.find_element(By.NAME, name)


def titles(page: Chrome) -> list[str]:
    return [one.text for one in page.find_elements(By.CSS_SELECTOR, ".found h2, .found h3")]


def first_found(page: Chrome) -> str:
    """Return the first found note's title, once the search that was begun is over."""
    WebDriverWait(page, 10).until(
        lambda page: not page.find_elements(By.CSS_SELECTOR, "[aria-busy=true]")
    )
    return titles(page)[0]


def follow(page: Chrome, link: str) -> None:
    """Click on a link or button with this text, and wait for the page that it leads to."""
    leads_away(page, page.find_element(By.XPATH, f"//*[self::a or self::button][.='{link}']").click)


def leads_away(page: Chrome, act: Callable[[], None]) -> None:
    """Do what leads to another page, and wait for that."""
    page.execute_script("window.isFormer = true")
    act()
    # Asked in between two pages, the driver may have an error for an answer.
    WebDriverWait(page, 20, ignored_exceptions=[WebDriverException]).until(
        lambda page: (
            page.execute_script("return !window.isFormer && document.readyState") == "complete"
        )
    )


def press(page: Chrome, *keys: str) -> None:
    """Press keys where the focus is."""
    page.switch_to.active_element.send_keys(*keys)


def test_searching_while_one_types_and_by_topic(page: Chrome) -> None:
    named(page, "q").send_keys("my bike makes noise when I pedal")
    assert first_found(page) == "A chain that squeaks or skips"
    assert "q=my+bike" in page.current_url
    assert page.title.startswith("my bike makes noise")
    Select(named(page, "topic")).select_by_visible_text("Garden")
    best = first_found(page)
    assert {one.text for one in page.find_elements(By.CSS_SELECTOR, ".found .topic")} == {"Garden"}
    page.refresh()
    assert titles(page)[0] == best


def test_the_bars_show_the_scores(page: Chrome) -> None:
    named(page, "q").send_keys("a blunt knife", Keys.ENTER)
    assert first_found(page) == "A blunt knife"
    first = page.find_element(By.CSS_SELECTOR, ".found .card")
    whole, meaning, wording = (
        first.find_element(By.CSS_SELECTOR, f".score rect.{part}").rect["width"]
        for part in ("all", "meaning", "wording")
    )
    assert meaning + wording == pytest.approx(whole, abs=1)
    total, *parts = (
        float(first.find_element(By.CSS_SELECTOR, f".numbers .{part}").text.split()[-1])
        for part in ("total", "meaning", "wording")
    )
    assert meaning / whole == pytest.approx(parts[0] / total, abs=0.01)
    assert "knife" in first.find_element(By.CSS_SELECTOR, ".words").text


def test_writing_changing_and_finding_a_note(page: Chrome) -> None:
    follow(page, "Write a note")
    named(page, "title").send_keys("The piano is out of tune")
    Select(named(page, "topic")).select_by_visible_text("House")
    named(page, "body").send_keys("Turn each pin with the lever, a hair at a time.")
    follow(page, "Save")
    assert page.find_element(By.TAG_NAME, "h1").text == "The piano is out of tune"
    assert len(titles(page)) == 4
    follow(page, "Edit")
    named(page, "body").send_keys(" A tuning fork gives the pitch.")
    follow(page, "Save")
    follow(page, "The Mending Book")
    named(page, "q").send_keys("my instrument sounds wrong")
    assert first_found(page) == "The piano is out of tune"
    follow(page, "The piano is out of tune")
    assert "tuning fork" in page.find_element(By.CLASS_NAME, "body").text


def test_by_keyboard_alone(page: Chrome, mending: str) -> None:
    page.get(f"{mending}/?q=gears")
    press(page, Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the content"
    press(page, "/")
    press(page, "insects")
    assert first_found(page) == "Greenfly on the roses"
    # The topic, the button, the first note.
    for _ in range(3):
        press(page, Keys.TAB)
    leads_away(page, lambda: press(page, Keys.ENTER))
    assert page.find_element(By.TAG_NAME, "h1").text == "Greenfly on the roses"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_is_in_the_way(page: Chrome, mending: str, width: int, scheme: str) -> None:
    set_size(page, width, 800)
    set_scheme(page, scheme)
    for path in ("/", "/?q=a+blunt+knife", "/?q=x&topic=Nothing", "/notes/1", "/notes/new"):
        page.get(mending + path)
        assert obstacles(page) == {}, path
