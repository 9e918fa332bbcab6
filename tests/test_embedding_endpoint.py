"""An embeddings endpoint that changes its mind: other dimensions, no numbers, ragged rows, gone in the middle. Nothing is ever mixed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

from research_agent.memory import Archive, EmbedderChanged, EmbeddingFailed, Segment, choose
from research_agent.testing.embedder import HashingEmbedder


class Endpoint(BaseHTTPRequestHandler):
    answers: Any = None
    """Texts to embeddings; None: 500."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if type(self).answers is None:
            self.send_error(400)
            return
        rows = type(self).answers(body["input"])
        if rows is None:
            self.send_error(400)
            return
        data = [{"index": n, "embedding": row} for n, row in enumerate(rows)]
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def embedder() -> Iterator[Any]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Endpoint.answers = plain
    yield choose(f"openai:m@http://127.0.0.1:{server.server_port}/v1").embedder
    server.shutdown()
    server.server_close()
    thread.join()


def plain(texts: list[str]) -> list[list[float]]:
    return [[1.0, float("car" in text)] for text in texts]


def wider(texts: list[str]) -> list[list[float]]:
    return [[1.0, 0.0, 0.0] for _ in texts]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (wider, "gives vectors of 3 dimensions, not of 2: is it another model"),
        (lambda texts: [[1.0] * (n + 1) for n, _ in enumerate(texts)], "gives vectors of 1 and 2 dimensions, not of 2"),
        (lambda texts: [[float("nan"), 1.0] for _ in texts], "answers in another form"),
        (lambda texts: [["x", "y"] for _ in texts], "answers in another form"),
        (lambda texts: [[] for _ in texts], "answers in another form"),
        (lambda texts: [[1.0, 0.0]], "1 vectors for 2 texts"),
    ],
)
def test_what_is_no_vector_of_this_model_is_refused_in_one_line(embedder: Any, answers: Any, told: str) -> None:
    assert embedder.embed(["a", "b"]).shape == (2, 2)
    Endpoint.answers = answers
    with pytest.raises(EmbeddingFailed, match=told) as error:
        embedder.embed(["a", "b"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changed", ["rebuild", "refuse"])
async def test_the_same_name_at_another_address_is_another_embedder(
    embedder: Any, changed: Literal["rebuild", "refuse"], tmp_path: Path
) -> None:
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.archive([Segment(run="r", step=1, kind="observation", text="A red car.", trust="untrusted")])
    await archive.close()
    elsewhere = HashingEmbedder(name=choose("openai:m@http://127.0.0.1:9/v1").embedder.identity, dimensions=2)
    if changed == "refuse":
        with pytest.raises(EmbedderChanged, match=f"made by {embedder.identity} .*the embedder now is {elsewhere.identity}"):
            Archive.open(tmp_path, run="r", embedder=elsewhere, changed=changed)
    else:
        archive = Archive.open(tmp_path, run="r", embedder=elsewhere, changed=changed)
        await archive.close()
        assert elsewhere.texts == 1


def test_an_identity_tells_the_address_and_no_secret_of_it() -> None:
    def identity(spec: str) -> str:
        return choose(spec, api_key="k-1").embedder.identity

    assert identity("openai:m") == identity("openai:m@https://api.openai.com/v1/") == "openai:m"
    assert identity("openai:m@http://me:k-2@Host:8000/v1/?key=k-3") == "openai:m@http://host:8000/v1"


async def test_an_archive_goes_on_by_words_and_comes_back(embedder: Any, tmp_path: Path) -> None:
    def page(step: int, text: str) -> Segment:
        return Segment(run="r", step=step, kind="observation", text=text, trust="untrusted")

    Endpoint.answers = None  # down when it is opened
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    await archive.archive([page(1, "A red car."), page(2, "Bread.")])
    await archive.flush()
    assert "answers HTTP 400" in archive.stats().failure
    assert [p.segment.step for p in await archive.recall("bread", budget_tokens=100)] == [2]
    Endpoint.answers = plain
    await archive.archive([page(3, "Milk.")])
    await archive.flush()
    assert (archive.stats().indexed, archive.stats().failure) == (3, "")
    Endpoint.answers = wider  # another model behind the same name, in the middle
    await archive.archive([page(4, "Cheese.")])
    await archive.flush()
    assert (archive.stats().indexed, "another model" in archive.stats().failure) == (3, True)
    assert [p.segment.step for p in await archive.recall("cheese", budget_tokens=100)] == [4]
    await archive.close()


def refusing_blanks(texts: list[str]) -> list[list[float]] | None:
    return plain(texts) if texts and all(map(str.strip, texts)) else None


@pytest.mark.parametrize("nothing", [" \n\n ", "\ufffe\ufffe", "a" + 3000 * "\n" + "b"])
async def test_a_page_of_blanks_does_not_keep_others_from_the_index(embedder: Any, nothing: str, tmp_path: Path) -> None:
    Endpoint.answers = refusing_blanks
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    pages = [
        Segment(run="r", step=step, kind="observation", text=text, trust="untrusted") for step, text in enumerate((nothing, "A red car."))
    ]
    await archive.archive(pages)
    await archive.flush()
    stats = archive.stats()
    await archive.close()
    assert (stats.indexed, stats.failure) == (stats.chunks, "")
