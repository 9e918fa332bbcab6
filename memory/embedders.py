"""Texts to vectors: sentence-transformers, Chroma's ONNX MiniLM, or an OpenAI-compatible endpoint.

Nothing is imported, loaded or downloaded before it is needed, and `auto` downloads nothing at all.
"""

from __future__ import annotations

import importlib.util
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from .errors import EmbedderUnavailable, EmbeddingFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_OPENAI = "https://api.openai.com/v1"
_KEY = "OPENAI_API_KEY"
"""The variable that whoever reads the environment takes `api_key` from; told, not read."""
_PROBE_TIMEOUT_S = 3.0
_REQUEST_TIMEOUT_S = 30.0
_REQUEST_TEXTS = 64
_TRIES = 3
_QUERY_PROMPTS = ("query", "search_query")
_PASSAGE_PROMPTS = ("document", "passage", "corpus", "search_document")
"""What the authors of models call the prompts in `config_sentence_transformers.json`."""


class Embedder(Protocol):
    @property
    def identity(self) -> str:
        """What tells its vectors from another's; kept beside them."""
        ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions), each row of length 1. Called from threads. Raises EmbeddingFailed."""
        ...


@runtime_checkable
class AsksOtherwise(Protocol):
    """An embedder that embeds a question another way than what is to be found by it."""

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """(dimensions,), of length 1. Raises EmbeddingFailed."""
        ...


def query_vector(embedder: Embedder, text: str) -> NDArray[np.float32]:
    """Raises EmbeddingFailed."""
    if isinstance(embedder, AsksOtherwise):
        return embedder.embed_query(text)
    vector: NDArray[np.float32] = embedder.embed([text])[0]
    return vector


@dataclass(frozen=True, slots=True)
class Choice:
    """An embedder, or why there is none: to be said once."""

    embedder: Embedder | None
    reason: str = ""


def choose(spec: str, *, api_key: str = "") -> Choice:
    """An embedder by its name: `auto`, `none`, `sentence-transformers:NAME-or-path`, `onnx` or `openai:NAME[@base_url]`.

    `auto` takes only what is on this machine already, and never fails. One that is named and cannot be had raises EmbedderUnavailable.
    """
    if spec == "auto":
        return _auto()
    if spec == "none":
        return Choice(None, "recall ranks by words: the embedder is `none`")
    kind, _, name = spec.partition(":")
    factory = _FACTORIES.get(kind)
    if factory is None or (kind == "onnx") == bool(name):
        allowed = "auto, none, sentence-transformers:NAME-or-path, onnx, openai:NAME[@base_url]"
        raise EmbedderUnavailable(f"memory.embedder: {spec!r} is none of: {allowed}")
    return Choice(factory(name, api_key))


def _auto() -> Choice:
    if importlib.util.find_spec("sentence_transformers") and _in_hub_cache(DEFAULT_MODEL):
        return Choice(SentenceTransformers(DEFAULT_MODEL))
    if (_onnx_folder() / "model.onnx").is_file():
        return Choice(OnnxMiniLM())
    return Choice(None, f"recall ranks by words: no embedding model is on this machine ({remedy()})")


def remedy() -> str:
    """What brings an embedding model to this machine."""
    names = "set memory.embedder to a model's name or path"
    return names if importlib.util.find_spec("sentence_transformers") else f"`pip install '.[embeddings]'` and {names}"


def _in_hub_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "modules.json"), str)


def _onnx_folder() -> Path:
    """Where Chroma keeps its MiniLM. Written out: importing Chroma to ask takes a second of every start."""
    return Path.home() / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"


def _reachable(url: str) -> bool:
    """Whether a download is worth trying: a host that does not answer within seconds must not hang a run."""
    parts = urlsplit(url)
    done: list[bool] = []

    def connect() -> None:
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_PROBE_TIMEOUT_S):
                done.append(True)
        except OSError:
            done.append(False)

    probe = threading.Thread(target=connect, daemon=True)  # a name that does not resolve has no timeout of its own
    probe.start()
    probe.join(_PROBE_TIMEOUT_S)
    return done == [True]


def unit(vectors: Any) -> NDArray[np.float32]:
    """Each row made of length 1."""
    import numpy as np

    rows: NDArray[np.float32] = np.asarray(vectors, dtype=np.float32)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    divided: NDArray[np.float32] = rows / lengths
    return divided


@contextmanager
def _no_bar() -> Iterator[None]:
    """Its library would draw one into the middle of what a program tells."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class SentenceTransformers:
    """A model by its hub name or path. Loaded at the first text; `load` says at once whether it can be."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # fast tokenizers refuse to be used by two threads at once
        self._model: Any = None

    @property
    def identity(self) -> str:
        return f"sentence-transformers:{self._name}"

    @property
    def dimensions(self) -> int:
        model = self.load()
        # renamed in 5.2; the old name warns there
        size = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(size())

    def load(self, *, download: bool = False) -> Any:
        with self._lock:
            if self._model is None:
                try:
                    from sentence_transformers import SentenceTransformer

                    with _no_bar():
                        self._model = SentenceTransformer(self._name, local_files_only=not download)
                except (ImportError, OSError, ValueError, RuntimeError) as error:
                    raise EmbeddingFailed(f"{self.identity} cannot be loaded: {_first_line(error)}") from error
            return self._model

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(texts, _PASSAGE_PROMPTS)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._encode([text], _QUERY_PROMPTS)[0]
        return vector

    def _encode(self, texts: Sequence[str], prompts: Sequence[str]) -> NDArray[np.float32]:
        """With the prompt that the model's own configuration has for such texts, if any: e5, bge and nomic need theirs."""
        model = self.load()
        name = next((name for name in prompts if model.prompts.get(name)), None)
        with self._lock:
            try:
                return unit(model.encode(list(texts), prompt_name=name, show_progress_bar=False, convert_to_numpy=True))
            except RuntimeError as error:  # its card is full, say
                raise EmbeddingFailed(f"{self.identity}: {_first_line(error)}") from error


class OnnxMiniLM:
    """Chroma's all-MiniLM-L6-v2, without torch."""

    identity = "onnx:all-MiniLM-L6-v2"
    dimensions = 384

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._function: Any = None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            try:
                if self._function is None:
                    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

                    self._function = ONNXMiniLM_L6_V2()
                return unit(self._function(list(texts)))
            except (ImportError, OSError, ValueError, RuntimeError) as error:
                raise EmbeddingFailed(f"{self.identity}: {error}") from error


class OpenAIEmbeddings:
    """`POST {base_url}/embeddings`, as many hosts and local servers answer it."""

    def __init__(self, model: str, base_url: str, api_key: str) -> None:
        self._model = model
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._at = "" if self._url == f"{_OPENAI}/embeddings" else f"@{_bare(base_url)}"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._dimensions = 0

    @property
    def identity(self) -> str:
        """With the address: the same name may be another model elsewhere."""
        return f"openai:{self._model}{self._at}"

    @property
    def dimensions(self) -> int:
        if not self._dimensions:
            self.embed(["dimensions"])
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows: list[list[float]] = []
        for start in range(0, len(texts), _REQUEST_TEXTS):
            rows.extend(self._request(list(texts[start : start + _REQUEST_TEXTS])))
        sizes = {len(row) for row in rows}
        if len(sizes) != 1 or (self._dimensions and sizes != {self._dimensions}):
            expected = f"{self._dimensions}" if self._dimensions else "one number"
            got = " and ".join(map(str, sorted(sizes)))
            raise EmbeddingFailed(f"{self.identity} gives vectors of {got} dimensions, not of {expected}: is it another model?")
        [self._dimensions] = sizes
        return unit(rows)

    def _request(self, texts: list[str]) -> list[list[float]]:
        import httpx

        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(2.0**attempt)
            try:
                body = {"model": self._model, "input": texts, "encoding_format": "float"}
                answer = httpx.post(self._url, json=body, headers=self._headers, timeout=_REQUEST_TIMEOUT_S)
                answer.raise_for_status()
                data = sorted(answer.json()["data"], key=lambda item: item["index"])
                if len(data) != len(texts):
                    raise EmbeddingFailed(f"{self.identity}: {len(data)} vectors for {len(texts)} texts")
                return [_numbers(item["embedding"]) for item in data]
            except httpx.HTTPStatusError as error:
                reason = f"answers HTTP {error.response.status_code}"
                if error.response.status_code in (401, 403):
                    reason = f"{reason}: does {_KEY} hold its key?"
                if error.response.status_code not in (408, 429) and error.response.status_code < 500:
                    break
            except httpx.TransportError as error:
                reason = f"does not answer: {type(error).__name__} {error}".strip()
                if isinstance(error, httpx.ReadTimeout):  # it was waited for long enough
                    break
            except (ValueError, KeyError, TypeError) as error:
                raise EmbeddingFailed(f"{self.identity} answers in another form ({error!r})") from error
        raise EmbeddingFailed(f"{self.identity} {reason}")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _bare(url: str) -> str:
    """A URL without what may be secret in it: a user, a password, a query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}{parts.path}".rstrip("/")


def _numbers(values: Any) -> list[float]:
    """Raises ValueError for what is no vector."""
    row = [float(value) for value in values]
    if not row or not all(map(math.isfinite, row)):
        raise ValueError("not a vector of finite numbers")
    return row


def _sentence_transformers(name: str, api_key: str) -> Embedder:
    if (name.startswith((".", "~", "/")) or name.count("/") > 1) and not Path(name).is_dir():  # the hub has NAME and OWNER/NAME
        raise EmbedderUnavailable(f"{name}: no such folder")
    if importlib.util.find_spec("sentence_transformers") is None:
        raise EmbedderUnavailable(f"sentence-transformers:{name} needs the extra: pip install '.[embeddings]'")
    embedder = SentenceTransformers(name)
    try:
        embedder.load()
    except EmbeddingFailed as error:
        from huggingface_hub import constants

        if Path(name).exists() or constants.HF_HUB_OFFLINE or not _reachable(constants.ENDPOINT):
            raise EmbedderUnavailable(f"{error} (not on this machine, and its host does not answer)") from error
        try:
            embedder.load(download=True)
        except EmbeddingFailed as failed:
            raise EmbedderUnavailable(str(failed)) from failed
    return embedder


def _onnx(name: str, api_key: str) -> Embedder:
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2 as Onnx

    if not (_onnx_folder() / "model.onnx").is_file() and not _reachable(Onnx.MODEL_DOWNLOAD_URL):
        raise EmbedderUnavailable(f"onnx: its files are not in {_onnx_folder()}, and their host does not answer")
    return OnnxMiniLM()


def _openai(name: str, api_key: str) -> Embedder:
    model, _, base_url = name.partition("@")
    if not model or (base_url and not _is_address(base_url)):
        raise EmbedderUnavailable(f"openai:{name} is none of: openai:NAME, openai:NAME@http://host:port/v1, openai:NAME@https://host/v1")
    if not api_key and _bare(base_url or _OPENAI) == _OPENAI:
        raise EmbedderUnavailable(f"openai:{name} needs a key: set {_KEY}")
    return OpenAIEmbeddings(model, base_url or _OPENAI, api_key)


_FACTORIES: dict[str, Callable[[str, str], Embedder]] = {
    "sentence-transformers": _sentence_transformers,
    "onnx": _onnx,
    "openai": _openai,
}
