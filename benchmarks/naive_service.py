"""The service that most write first: a FastAPI handler that calls the SavedModel once a request.

    python -m benchmarks.naive_service RELEASE

It does less than `tfrecall serve`: seen items stay in its lists, and only known users get one. `/async` has
the handler in the event loop, `/threads` in FastAPI's threads; which of them is faster depends on the load.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

import tfrecall as tr
from tfrecall.serving.process import address, listen


class Ask(BaseModel):
    """Body of a request."""

    user_id: str
    k: int = 10


def create_app(root: Path) -> FastAPI:
    """The application, for a release of a two-tower model whose query tower takes user and time."""
    users = tr.load(root).users
    moments = dict(zip(users.ids, users.features["timestamp"].tolist(), strict=True))
    model = tf.saved_model.load(str(root / "retrieval" / "1")).signatures["serving_default"]
    app = FastAPI()

    def answer(asked: Ask) -> dict[str, Any]:
        user, moment = [asked.user_id], [moments[asked.user_id]]
        found = model(user_id=tf.constant(user), timestamp=tf.constant(moment, tf.float64))
        ids = found["candidate_ids"].numpy()[0, : asked.k].tolist()
        scores = found["scores"].numpy()[0, : asked.k].tolist()
        return {
            "user_id": asked.user_id,
            "items": [{"item_id": i, "score": s} for i, s in zip(ids, scores, strict=True)],
        }

    @app.post("/threads")
    def in_threads(asked: Ask) -> dict[str, Any]:
        return answer(asked)

    @app.post("/async")
    async def in_loop(asked: Ask) -> dict[str, Any]:
        return answer(asked)

    @app.get("/health/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    return app


def main() -> None:
    """Serve on a free port until a signal ends it."""
    app = create_app(Path(sys.argv[1]))
    with listen("127.0.0.1", 0) as bound:
        print(address(bound), flush=True)
        settings = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(settings).run(sockets=[bound])


if __name__ == "__main__":
    main()
