"""The example application as a program asks it, over HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.examples.mending import FOLDER, README, SETTING_UP, run

pytestmark = pytest.mark.model

_HEADING = re.compile(r'<h[23]><a href="(/notes/\d+)">([^<]+)</a></h[23]>')
_NUMBERS = re.compile(
    r'class="total">([\d.]+)<.*?class="meaning">meaning (-?[\d.]+)<'
    r'.*?class="wording">shared words ([\d.]+)<',
    re.DOTALL,
)
_WORD = re.compile(r"<li>(\w+) <small>\+([\d.]+)</small></li>")


@pytest.fixture
def client(mending: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mending, trust_env=False, follow_redirects=True) as client:
        yield client


def titles(page: httpx.Response) -> list[str]:
    assert page.status_code == 200, page.text
    return [title for _, title in _HEADING.findall(page.text)]


def search(client: httpx.Client, text: str, topic: str = "") -> httpx.Response:
    return client.get("/", params={"q": text, "topic": topic})


def test_a_note_is_found_by_what_it_means(client: httpx.Client) -> None:
    found = titles(search(client, "my bike makes noise when I pedal"))
    assert found[0] == "A chain that squeaks or skips"
    assert len(found) == 8
    assert titles(search(client, "insects"))[0] == "Greenfly on the roses"


def test_the_score_is_the_sum_of_its_parts_and_falls(client: httpx.Client) -> None:
    page = search(client, "a blunt knife cuts badly").text
    scores = [tuple(map(float, numbers)) for numbers in _NUMBERS.findall(page)]
    assert len(scores) == 8
    assert all(total == pytest.approx(sum(parts), abs=2e-3) for total, *parts in scores)
    assert scores == sorted(scores, key=lambda score: -score[0])
    first = page.partition("</li>\n  \n")[0]
    words = {word: float(adds) for word, adds in _WORD.findall(first)}
    assert {"blunt", "knife"} <= words.keys()


def test_the_filter_holds_inside_the_search(client: httpx.Client) -> None:
    page = search(client, "my bike makes noise when I pedal", "Kitchen")
    assert len(titles(page)) == 8
    assert set(re.findall(r'class="topic">(\w+)<', page.text)) == {"Kitchen"}


def test_what_is_written_is_found_at_once_and_by_its_present_text(client: httpx.Client) -> None:
    note = {"topic": "House", "title": "The doorbell is silent", "body": "Change its battery."}
    page = client.post("/notes", data=note)
    assert "The doorbell is silent" in page.text
    assert titles(search(client, "nobody hears visitors ring"))[0] == "The doorbell is silent"
    changed = note | {"title": "Bees in the chimney", "body": "Call a bee keeper in spring."}
    client.post(page.url.path, data=changed)
    assert titles(search(client, "honey"))[0] == "Bees in the chimney"
    assert "The doorbell is silent" not in titles(search(client, "nobody hears visitors ring"))


def test_more_like_this(client: httpx.Client) -> None:
    path, title = _HEADING.findall(search(client, "blunt knife").text)[0]
    page = client.get(path)
    similar = titles(page)
    assert len(similar) == 4
    assert title not in similar
    assert "A blunt spade" in similar
    totals = [float(total) for total, _, _ in _NUMBERS.findall(page.text)]
    assert totals == sorted(totals, reverse=True)


def test_text_is_text_on_the_page(client: httpx.Client) -> None:
    note = {"topic": "Garden", "title": "<script>alert(1)</script>", "body": '"><b>bold'}
    page = client.post("/notes", data=note)
    for answer in (page, client.get(f"{page.url.path}/edit"), search(client, '"><b>bold')):
        assert "<script>alert" not in answer.text
        assert "<b>bold" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_what_is_not_there_or_not_allowed_is_said(client: httpx.Client) -> None:
    for path in ("/notes/9999", "/nowhere"):
        missing = client.get(path)
        assert missing.status_code == 404
        assert "Back to the search" in missing.text
    note = {"topic": "Astronomy", "title": "A dull star", "body": "Polish it."}
    assert client.post("/notes", data=note).status_code == 422
    assert client.post("/notes", data=note | {"topic": "House", "title": ""}).status_code == 422


def test_the_tests_have_what_the_example_asks_for() -> None:
    *_, install = SETTING_UP
    assert install.endswith("-r requirements.txt")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-index",
            "--dry-run",
            "-r",
            "requirements.txt",
        ],
        cwd=FOLDER,
        check=True,
    )


def test_the_links_in_the_readme_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (FOLDER / link).exists(), link


def test_the_migrations_say_what_the_classes_say(mending_dsn: str, mending: str) -> None:
    assert "No new upgrade operations detected" in run("alembic check", mending_dsn)


def test_rows_from_before_the_embedding_are_searchable_after_a_sync(
    client: httpx.Client, mending_dsn: str
) -> None:
    run("alembic downgrade 0001", mending_dsn)
    run("alembic upgrade head", mending_dsn)
    assert titles(search(client, "insects")) == []
    run("gte-pg sync --dsn $DATABASE_URL", mending_dsn)
    assert titles(search(client, "ladybirds"))[0] == "Greenfly on the roses"


def test_everything_can_be_taken_back_and_made_again(mending_dsn: str, mending: str) -> None:
    run("alembic downgrade base", mending_dsn)
    run("alembic upgrade head", mending_dsn)
    assert run("python -m mending.fill", mending_dsn) == "48 notes added\n"
    assert run("python -m mending.fill", mending_dsn) == "0 notes added\n"
