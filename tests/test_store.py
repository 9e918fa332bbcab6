"""A store's contract, on LangGraph's own and on ours; then what ours adds: it outlives the process, and tells what it cannot do."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict

from research_agent.memory import ArchiveError, ArchiveInUse, ChromaStore
from research_agent.testing.embedder import HashingEmbedder

Make = Callable[..., BaseStore]


class Hashed(Embeddings):
    """The hashing embedder, as LangChain's embeddings."""

    def __init__(self, dimensions: int = 64, **more: Any) -> None:
        self.own = HashingEmbedder(dimensions=dimensions, **more)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(x) for x in row] for row in self.own.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture(params=["langgraph", "ours"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[ChromaStore] = []

    def build(**index: Any) -> BaseStore:
        config = {"index": {"dims": 64, "embed": Hashed(), **index}} if index else {}
        if request.param == "langgraph":
            return InMemoryStore(**config)
        opened.append(ChromaStore(tmp_path / str(len(opened)), **config))
        return opened[-1]

    yield build
    for store in opened:
        store.close()


def keys(found: list[Any]) -> list[str]:
    return [item.key for item in found]


def test_what_is_put_comes_back(make: Make) -> None:
    store, value = make(), {"text": "naïve 漢字 🎈 \x00", "n": [1, 2.5, None, True], "deep": {"a": {"b": "c"}}}
    store.put(("users", "1"), "prefs", value)
    item = store.get(("users", "1"), "prefs")
    assert item is not None
    assert (item.namespace, item.key, item.value) == (("users", "1"), "prefs", value)
    assert item.created_at.tzinfo is not None
    assert store.get(("users", "1"), "other") is None
    assert store.get(("users",), "prefs") is None
    store.put(("users", "1"), "prefs", {"new": 1})
    assert store.get(("users", "1"), "prefs").value == {"new": 1}
    store.delete(("users", "1"), "prefs")
    store.delete(("users", "1"), "never there")
    assert store.get(("users", "1"), "prefs") is None
    assert store.search(("users",)) == []


def test_a_namespace_holds_what_is_below_it_and_no_namesake(make: Make) -> None:
    store = make()
    for place in [("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a", "bc"), ('a", "b',), ("é", "ü")]:
        store.put(place, "k", {"at": list(place)})
    assert [item.value["at"] for item in store.search(("a", "b"))] == [["a", "b"], ["a", "b", "c"]]
    assert len(store.search(("a",))) == 4
    assert [item.namespace for item in store.search(("é",))] == [("é", "ü")]
    assert len(store.search(())) == 7
    assert store.search(("a", "b", "c", "d")) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"color": "red"}, ["1", "2"]),
        ({"color": {"$eq": "red"}}, ["1", "2"]),
        ({"color": {"$ne": "red"}}, ["3", "4"]),
        ({"score": {"$gt": 3}}, ["1", "3"]),
        ({"score": {"$gte": 3, "$lt": 4.5}}, ["2", "3"]),
        ({"score": {"$lte": 3}, "color": "blue"}, ["4"]),
        ({"owner": {"name": "Ada"}}, ["1"]),
        ({"owner": {"age": {"$gt": 30}}}, ["2"]),
        ({"tags": ["x", "y"]}, ["3"]),
        ({"missing": None}, ["1", "2", "3", "4"]),
        ({"missing": 1}, []),
    ],
)
def test_filters(make: Make, wanted: dict[str, Any], expected: list[str]) -> None:
    store = make()
    store.put(("f",), "1", {"color": "red", "score": 4.5, "owner": {"name": "Ada", "age": 20}, "tags": ["x"]})
    store.put(("f",), "2", {"color": "red", "score": 3.0, "owner": {"name": "Bob", "age": 40}, "tags": []})
    store.put(("f",), "3", {"color": "green", "score": 4.0, "owner": {"age": 1}, "tags": ["x", "y"]})
    store.put(("f",), "4", {"color": "blue", "score": 1, "owner": {"age": 2}})
    assert keys(store.search(("f",), filter=wanted)) == expected


def test_an_unknown_operator_is_refused(make: Make) -> None:
    store = make()
    store.put(("f",), "1", {"n": 1})
    with pytest.raises(ValueError, match=r"\$near"):
        store.search(("f",), filter={"n": {"$near": 1}})


def test_search_is_paged(make: Make) -> None:
    store = make()
    for n in range(12):
        store.put(("p",), f"k{n:02d}", {"n": n})
    assert keys(store.search(("p",), limit=5)) == [f"k{n:02d}" for n in range(5)]
    assert keys(store.search(("p",), limit=5, offset=10)) == ["k10", "k11"]
    assert keys(store.search(("p",), filter={"n": {"$gte": 6}}, limit=2, offset=2)) == ["k08", "k09"]
    assert len(store.search(("p",))) == 10


def test_namespaces_are_listed(make: Make) -> None:
    store = make()
    places = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "c", "f"), ("b", "a", "f"), ("users", "123"), ("users", "456", "settings")]
    for place in places:
        store.put(place, "k", {})
    assert store.list_namespaces() == sorted(places)
    assert store.list_namespaces(prefix=("a", "b")) == [("a", "b", "c"), ("a", "b", "d", "e")]
    assert store.list_namespaces(suffix=("f",)) == [("a", "c", "f"), ("b", "a", "f")]
    assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "c", "f")]
    assert store.list_namespaces(suffix=("*", "settings")) == [("users", "456", "settings")]
    assert store.list_namespaces(max_depth=1) == [("a",), ("b",), ("users",)]
    assert store.list_namespaces(prefix=("a",), max_depth=2, limit=1, offset=1) == [("a", "c")]
    assert store.list_namespaces(prefix=("nobody",)) == []


@pytest.mark.parametrize("place", [(), ("a.b",), ("a", ""), ("langgraph", "x"), ("a", 1)])
async def test_a_bad_namespace_is_refused(make: Make, place: tuple[str, ...]) -> None:
    store = make()
    with pytest.raises(InvalidNamespaceError):
        store.put(place, "k", {})
    with pytest.raises(InvalidNamespaceError):
        await store.aput(place, "k", {})


def test_a_batch_reads_what_was_before_it_and_keeps_the_last_of_two_writes(make: Make) -> None:
    store = make()
    store.put(("a",), "k", {"n": 0})
    results = store.batch(
        [
            PutOp(("a",), "k", {"n": 1}),
            GetOp(("a",), "k"),
            SearchOp(("a",)),
            PutOp(("a",), "k", {"n": 2}),
            ListNamespacesOp(limit=10),
            PutOp(("b",), "gone", None),
        ]
    )
    assert [results[0], results[3], results[5]] == [None, None, None]
    assert results[1].value == {"n": 0}
    assert [item.value for item in results[2]] == [{"n": 0}]
    assert results[4] == [("a",)]
    assert store.get(("a",), "k").value == {"n": 2}


async def test_async_is_the_same(make: Make) -> None:
    store = make()
    await store.aput(("a",), "k", {"n": 1})
    assert (await store.aget(("a",), "k")).value == {"n": 1}
    assert keys(await store.asearch(("a",), filter={"n": 1})) == ["k"]
    assert await store.alist_namespaces() == [("a",)]
    assert [r if r is None else r.value for r in await store.abatch([GetOp(("a",), "k"), PutOp(("a",), "k", None)])] == [{"n": 1}, None]
    await store.adelete(("a",), "k")
    assert await store.aget(("a",), "k") is None


def test_search_by_meaning_scores_and_orders(make: Make) -> None:
    store = make(fields=["$"])
    for key, value in [("1", {"text": "red apple"}), ("2", {"text": "red car"}), ("3", {"text": "green boat"})]:
        store.put(("t",), key, value)
    found = store.search(("t",), query="apple")
    assert found[0].key == "1"
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert keys(store.search(("t",), query="car", filter={"text": "red car"})) == ["2"]
    first, second = store.search(("t",), query="red", limit=2), store.search(("t",), query="red", limit=2, offset=2)
    assert len({*keys(first), *keys(second)}) == 3
    for query in ("", None, "apple " * 100, "apple!@#$%^&*()"):
        assert len(store.search(("t",), query=query)) == 3


def test_a_changed_item_is_found_as_it_is_now(make: Make) -> None:
    store = make(fields=["text"])
    store.put(("t",), "1", {"text": "zebra"})
    store.put(("t",), "2", {"text": "boats"})
    before = {item.key: item.score for item in store.search(("t",), query="zebra")}
    store.put(("t",), "1", {"text": "dogs"})
    after = {item.key: item.score for item in store.search(("t",), query="zebra")}
    assert after["1"] < before["1"]
    store.delete(("t",), "1")
    assert keys(store.search(("t",), query="dogs")) == ["2"]


def test_which_fields_are_indexed_is_told_by_the_store_or_the_put(make: Make) -> None:
    store = make(fields=["title", "parts[*].text"])
    store.put(("t",), "own", {"title": "zebra", "other": "boat"})
    store.put(("t",), "parts", {"title": "x", "parts": [{"text": "lamp"}, {"text": "violin"}]})
    store.put(("t",), "told", {"title": "zebra", "other": "boat"}, index=["other"])
    store.put(("t",), "none", {"title": "zebra"}, index=False)
    assert store.search(("t",), query="violin")[0].key == "parts"
    assert store.search(("t",), query="zebra")[0].key == "own"
    assert store.search(("t",), query="boat")[0].key == "told"
    scores = {item.key: item.score for item in store.search(("t",), query="zebra")}
    assert scores["none"] is None
    assert "none" not in keys(store.search(("t",), query="zebra", limit=3))


# -- ours alone


WRITER = """
import sys
from research_agent.memory import ChromaStore
from research_agent.testing.embedder import HashingEmbedder
store = ChromaStore(sys.argv[1], embedder=HashingEmbedder(same={"automobile": "car"}))
store.put(("notes",), "1", {"text": "the automobile is red"})
store.put(("notes",), "2", {"text": "bread is baked"})
print("written", flush=True)
if sys.argv[2] == "killed":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
store.close()
"""


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_it_outlives_its_process(tmp_path: Path, end: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), end], capture_output=True, text=True, timeout=60)
    assert done.stdout == "written\n", done.stderr
    embedder = HashingEmbedder(same={"automobile": "car"})
    with ChromaStore(tmp_path, embedder=embedder) as store:
        assert store.get(("notes",), "2").value == {"text": "bread is baked"}
        assert store.search(("notes",), query="car")[0].key == "1"
        assert embedder.texts == 1  # the query: nothing was embedded anew


def test_without_an_embedder_it_searches_by_words(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        store.put(("n",), "1", {"text": "Zinc melts at 420 degrees."})
        store.put(("n",), "2", {"text": "Copper melts later.", "kind": "metal"})
        store.put(("m",), "3", {"text": "Zinc, elsewhere."})
        found = store.search(("n",), query="at what degrees does zinc melt?")
        assert keys(found) == ["1", "2"]
        assert 1 > found[0].score > found[1].score > 0
        assert [(item.key, item.score) for item in store.search(("n",), query="tungsten")] == [("1", 0.0), ("2", 0.0)]
        store.put(("n",), "0", {"text": "Zinc, and not to be found."}, index=False)
        assert [(item.key, item.score) for item in store.search(("n",), query="tungsten")][2] == ("0", None)
        assert keys(store.search(("n",), query='zinc" OR *', filter={"kind": "metal"})) == ["2"]
        assert not (tmp_path / "vectors").exists()


@pytest.mark.parametrize("others", [0, 1, 5, 300])
def test_scores_by_words_tell_how_much_of_the_query_a_text_holds_in_a_store_of_any_size(tmp_path: Path, others: int) -> None:
    with ChromaStore(tmp_path) as store:
        store.put(("n",), "all", {"text": "Zinc melts at 420 degrees."})
        store.put(("n",), "some", {"text": "Zinc is a metal, bluish white."})
        store.put(("n",), "none", {"text": "Copper is red."})
        for n in range(others):
            store.put(("n",), f"{n}", {"text": f"Sheep {n} of the valley eat grass."})
        scores = {item.key: item.score for item in store.search(("n",), query="zinc melts", limit=400)}
    assert scores["all"] > 0.3
    assert 0 < scores["some"] < 0.6 * scores["all"] + 0.2
    assert {score for key, score in scores.items() if key not in ("all", "some")} == {0.0}


def test_a_second_opener_gets_one_line(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        store.put(("a",), "k", {})
        with pytest.raises(ArchiveInUse, match=r"the store in .* is open already"):
            ChromaStore(tmp_path)
    ChromaStore(tmp_path).close()


def test_what_is_no_store_or_no_json_is_refused(tmp_path: Path) -> None:
    with ChromaStore(tmp_path / "a") as store:
        with pytest.raises(TypeError, match=r"the value of 'k' in \('a',\) cannot be kept, for it is not JSON"):
            store.batch([PutOp(("a",), "good", {"n": 1}), PutOp(("a",), "k", {"n": object()})])
        assert store.get(("a",), "good") is None
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "store.sqlite").write_bytes(b"no database at all, but long enough to be one" * 50)
    with pytest.raises(ArchiveError, match=r"store\.sqlite cannot be read as a store"):
        ChromaStore(tmp_path / "b")


def test_time_to_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr("research_agent.memory.store.time.time", lambda: clock[0])
    with ChromaStore(tmp_path, embedder=HashingEmbedder(), ttl={"default_ttl": 60, "refresh_on_read": True}) as store:
        store.put(("t",), "hour", {"text": "lamp"})
        store.put(("t",), "minute", {"text": "lamp"}, ttl=1)
        store.put(("t",), "ever", {"text": "lamp"}, ttl=None)
        clock[0] += 50
        assert store.get(("t",), "minute", refresh_ttl=False) is not None
        clock[0] += 20
        assert store.get(("t",), "minute") is None
        assert keys(store.search(("t",), query="lamp", refresh_ttl=True)) == ["hour", "ever"]
        clock[0] += 3590
        assert store.get(("t",), "hour") is not None  # its hour began anew at the search
        clock[0] += 3610
        assert keys(store.search(("t",))) == ["ever"]
        assert store.list_namespaces() == [("t",)]


def test_an_embedder_that_fails_costs_only_the_meaning(tmp_path: Path) -> None:
    embedder = HashingEmbedder(same={"automobile": "car"})
    with ChromaStore(tmp_path, embedder=embedder) as store:
        store.put(("t",), "1", {"text": "an automobile"})
        embedder.up = False
        store.put(("t",), "2", {"text": "a lamp"})
        assert store.get(("t",), "2").value == {"text": "a lamp"}
        assert (keys(store.search(("t",), query="lamp"))[0], store.failure) == ("2", "hashing is down")
        embedder.up = True
        assert (keys(store.search(("t",), query="car"))[0], store.failure) == ("1", "")


def test_another_embedder_means_new_vectors(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, embedder=HashingEmbedder(name="one", dimensions=64)) as store:
        store.put(("t",), "1", {"text": "an automobile"})
    embedder = HashingEmbedder(name="two", dimensions=32, same={"automobile": "car"})
    with ChromaStore(tmp_path, embedder=embedder) as store:
        assert store.search(("t",), query="car")[0].score > 0.5
    assert embedder.texts == 2


async def test_an_async_function_embeds_too_and_a_question_is_embedded_as_one(make: Make) -> None:
    asked: list[str] = []

    async def embed(texts: list[str]) -> list[list[float]]:
        return Hashed().embed_documents(texts)

    class Asking(Hashed):
        def embed_query(self, text: str) -> list[float]:
            asked.append(text)
            return super().embed_query(text)

    store = make(embed=embed)
    for key, text in (("1", "red apple"), ("2", "green boat")):
        await store.aput(("t",), key, {"text": text})
    found = await store.asearch(("t",), query="boat")
    assert keys(found) == ["2", "1"]
    assert found[0].score > 0.3
    store = make(embed=Asking())
    store.put(("t",), "1", {"text": "red apple"})
    assert store.search(("t",), query="apple")[0].score > 0.3
    assert asked == ["apple"]


async def test_a_question_is_answered_by_words_under_async_and_beside_a_running_loop(tmp_path: Path) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        return Hashed().embed_documents(texts)

    with ChromaStore(tmp_path / "words") as store:
        await store.aput(("t",), "1", {"text": "a lamp"})
        assert keys(await store.asearch(("t",), query="lamps")) == ["1"]
    with ChromaStore(tmp_path / "loop", index={"dims": 64, "embed": embed}) as store:
        store.put(("t",), "1", {"text": "a lamp"})  # the sync face in a running loop
        assert store.search(("t",), query="lamp")[0].score is not None
        assert store.failure == ""


def test_what_reaches_a_batch_past_put_is_checked_as_well(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        for place in ((), ("a.b",), ("a", ""), ("a", 1)):
            with pytest.raises(InvalidNamespaceError):
                store.batch([PutOp(place, "k", {"n": 1})])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="it is a list, and no dict"):
            store.batch([PutOp(("a",), "k", [1])])  # type: ignore[arg-type]
        assert store.list_namespaces() == []


def test_a_key_with_half_a_character_is_refused_in_one_line_and_is_not_taken_for_another(tmp_path: Path) -> None:
    with ChromaStore(tmp_path) as store:
        store.put(("a",), "?", {"text": "one"})
        with pytest.raises(ValueError, match=r"the key '\\ud800' in \('a',\) cannot be kept"):
            store.put(("a",), "\ud800", {"text": "two"})
        assert store.get(("a",), "\ud800") is None
        store.delete(("a",), "\ud800")
        assert store.get(("a",), "?").value == {"text": "one"}
        assert len(store.search(("a",), query="\ud800 one")) == 1
    with pytest.raises(ArchiveError, match="is closed"):
        store.get(("a",), "?")


def test_dimensions_that_are_not_what_was_said_are_told(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, index={"dims": 32, "embed": Hashed(dimensions=64)}) as store:
        store.put(("t",), "1", {"text": "lamp"})
        assert keys(store.search(("t",), query="lamp")) == ["1"]
        assert "gives 64 dimensions, index.dims says 32" in store.failure


def test_many_threads_write_at_once(tmp_path: Path) -> None:
    with ChromaStore(tmp_path, embedder=HashingEmbedder()) as store:
        threads = [
            threading.Thread(target=lambda n=n: [store.put(("t", str(n)), str(k), {"text": f"lamp {n} {k}"}) for k in range(5)])
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.search((), limit=100)) == 30
        assert len([item for item in store.search((), query="lamp", limit=100) if item.score is not None]) == 30


def test_a_graph_uses_it(tmp_path: Path) -> None:
    class State(TypedDict):
        name: str

    def remember(state: State, *, store: BaseStore) -> State:
        met = store.get(("met",), state["name"])
        store.put(("met",), state["name"], {"times": (met.value["times"] if met else 0) + 1})
        return state

    builder = StateGraph(State)
    builder.add_node("remember", remember)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", END)
    for _ in range(2):
        with ChromaStore(tmp_path) as store:
            builder.compile(store=store).invoke({"name": "Ada"})
    with ChromaStore(tmp_path) as store:
        assert store.get(("met",), "Ada").value == {"times": 2}
