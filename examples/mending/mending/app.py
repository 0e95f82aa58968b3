"""The pages: search, read, write. Start it with: uvicorn mending.app:app"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException as AnyHTTPException

from gte_pg import load_encoder
from mending.database import sessions
from mending.models import MODEL, TOPICS, Note
from mending.search import find, more_like

HERE = Path(__file__).parent

QUESTIONS = (
    "my bike makes noise when I pedal",
    "cold air comes in",
    "insects",
    "cutting vegetables is hard",
)

pages = Jinja2Templates(
    HERE / "templates", context_processors=[lambda _request: {"topics": TOPICS}]
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The model is loaded before the first request, not by it.
    await asyncio.to_thread(load_encoder, MODEL)
    app.state.sessions = sessions()
    yield
    await app.state.sessions.kw["bind"].dispose()


app = FastAPI(title="The Mending Book", lifespan=lifespan, docs_url=None, redoc_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


@app.middleware("http")
async def own_content_only(
    request: Request, answer: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await answer(request)
    response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
    return response


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Database = Annotated[AsyncSession, Depends(open_session)]


async def stored_note(note_id: int, session: Database) -> Note:
    note = await session.get(Note, note_id)
    if note is None:
        raise HTTPException(404, "There is no such note.")
    return note


StoredNote = Annotated[Note, Depends(stored_note)]


def topic_given(topic: Annotated[str, Form()]) -> str:
    if topic not in TOPICS:
        raise HTTPException(422, f"The topic is one of {', '.join(TOPICS)}.")
    return topic


Topic = Annotated[str, Depends(topic_given)]

Text = Annotated[str, Form(min_length=1, max_length=10_000)]


@app.get("/")
async def search_page(
    request: Request, session: Database, q: str = "", topic: str = ""
) -> HTMLResponse:
    asked = q.strip()[:1_000]
    found = await find(session, asked, topic=topic) if asked else []
    latest = []
    if not asked:
        notes = sa.select(Note).order_by(Note.written.desc(), Note.id).limit(12)
        latest = list(await session.scalars(notes.where(Note.topic == topic) if topic else notes))
    values = {"q": asked, "topic": topic, "found": found, "latest": latest, "questions": QUESTIONS}
    return pages.TemplateResponse(request, "search.html", values)


@app.get("/notes/new")
async def new_page(request: Request) -> HTMLResponse:
    return pages.TemplateResponse(request, "edit.html", {"note": None})


@app.post("/notes")
async def add(session: Database, topic: Topic, title: Text, body: Text) -> RedirectResponse:
    note = Note(topic=topic, title=title, body=body)
    session.add(note)
    await session.commit()
    return RedirectResponse(f"/notes/{note.id}", status_code=303)


@app.get("/notes/{note_id}")
async def note_page(request: Request, session: Database, note: StoredNote) -> HTMLResponse:
    values = {"note": note, "found": await more_like(session, note)}
    return pages.TemplateResponse(request, "note.html", values)


@app.get("/notes/{note_id}/edit")
async def edit_page(request: Request, note: StoredNote) -> HTMLResponse:
    return pages.TemplateResponse(request, "edit.html", {"note": note})


@app.post("/notes/{note_id}")
async def change(
    session: Database, note: StoredNote, topic: Topic, title: Text, body: Text
) -> RedirectResponse:
    note.topic, note.title, note.body = topic, title, body
    await session.commit()
    return RedirectResponse(f"/notes/{note.id}", status_code=303)


@app.exception_handler(AnyHTTPException)
async def problem_page(request: Request, problem: AnyHTTPException) -> HTMLResponse:
    values = {"problem": problem.detail}
    return pages.TemplateResponse(request, "problem.html", values, status_code=problem.status_code)
