"""Routes of the page: its files, and the read-only views that it shows."""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response

from tfrecall.errors import DataError
from tfrecall.serving.explore import Explorer, count_of
from tfrecall.serving.item_map import MOST_POINTS
from tfrecall.serving.service import Service
from tfrecall.serving.web import HttpError, reply

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
# The page loads nothing from elsewhere and runs no script but its own files.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
_LONGEST_QUERY = 200


def add_page(app: FastAPI, service: Service) -> None:
    """Add the page and its views to an application."""
    views = _Views(service)

    async def release(request: Request) -> Response:
        name = request.path_params["name"]
        return await views.answer(name, lambda explorer: {"name": name, **explorer.facts()})

    async def items(request: Request) -> Response:
        query, k = _search(request)
        return await views.answer(_release(request), lambda explorer: explorer.items(query, k))

    async def item(request: Request) -> Response:
        item_id = request.path_params["item_id"]
        return await views.answer(_release(request), lambda explorer: explorer.item(item_id))

    async def users(request: Request) -> Response:
        query, k = _search(request)
        return await views.answer(_release(request), lambda explorer: explorer.users(query, k))

    async def user(request: Request) -> Response:
        user_id, k = request.path_params["user_id"], count_of(request.query_params.get("k"), 50)
        recent = service.feedback.recent.events(user_id)
        return await views.answer(_release(request), lambda explorer: explorer.user(user_id, k, recent))

    async def points(request: Request) -> Response:
        k = count_of(request.query_params.get("k"), 2000, MOST_POINTS)
        return await views.answer(_release(request), lambda explorer: explorer.map(k))

    async def evaluation(request: Request) -> Response:
        return await views.answer(_release(request), Explorer.evaluation)

    app.add_route("/v1/releases/{name}", release, ["GET"])
    app.add_route("/v1/items", items, ["GET"])
    app.add_route("/v1/items/{item_id:path}", item, ["GET"])
    app.add_route("/v1/users", users, ["GET"])
    app.add_route("/v1/users/{user_id:path}", user, ["GET"])
    app.add_route("/v1/map", points, ["GET"])
    app.add_route("/v1/evaluation", evaluation, ["GET"])
    _add_files(app)


class _Views:
    """The explorers of the served versions."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._explorers: dict[str, Explorer] = {}

    async def answer(self, name: str | None, make: Callable[[Explorer], Any]) -> Response:
        explorer = self._of(name)
        # Searches and maps take milliseconds that answers of others need not wait for.
        return reply(await asyncio.to_thread(make, explorer))

    def _of(self, name: str | None) -> Explorer:
        hosted = self._service.route(name)
        release = hosted.answerer.release
        found = self._explorers.get(hosted.name)
        # After a swap the views of the version before are dropped with it.
        if found is None or found.release is not release:
            found = self._explorers[hosted.name] = Explorer(release)
        return found


def _release(request: Request) -> str | None:
    return request.query_params.get("release")


def _add_files(app: FastAPI) -> None:
    """Serve the files of the page from memory: a request names one of them, never a path."""
    folder = files("tfrecall.serving") / "page"
    contents = {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }

    def answer(name: str) -> Response:
        if name not in contents:
            raise HttpError(404, "not_found", "The page has no such file.")
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(contents[name], media_type=kind, headers=_HEADERS)

    async def index(request: Request) -> Response:
        return answer("index.html")

    async def page_file(request: Request) -> Response:
        return answer(request.path_params["name"])

    app.add_route("/", index, ["GET"])
    app.add_route("/page/{name}", page_file, ["GET"])


def _search(request: Request) -> tuple[str, int]:
    query = request.query_params.get("query", "")
    if len(query) > _LONGEST_QUERY:
        raise DataError(
            f"A search takes up to {_LONGEST_QUERY} letters. Received: {len(query):,}. Shorten it."
        )
    return query, count_of(request.query_params.get("k"), 20)
