"""What a step of the long run takes beside the model and the network: CPU, and bytes on disk by store.

    python benchmarks/step_cost.py [--seed N] [--embedder SPEC]

research-agent as shipped acts the script of `long_run.py`. A bare loop of httpx calls, in the same run, says what this machine is worth
today: each of its steps posts a prompt of 20 kB to a server on 127.0.0.1 and reads the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import json
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import httpx
import long_run
import long_run_world
from long_run_reader import Host, Mind

PROMPT = json.dumps({"messages": [{"role": "user", "content": "A sentence of a prompt, as long as they are. " * 450}]})


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"choices": [{"message": {"content": "Yes. " * 40}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


async def bare_loop(steps: int) -> float:
    """CPU ms a step, without what the server took."""
    served = {"cpu": 0.0}

    class Server(http.server.HTTPServer):
        def process_request(self, request: object, client_address: object) -> None:
            begun = time.thread_time()
            super().process_request(request, client_address)  # type: ignore[arg-type]
            served["cpu"] += time.thread_time() - begun

    server = Server(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    async with httpx.AsyncClient() as client:
        begun = time.process_time()
        for _ in range(steps):
            answer = await client.post(f"http://127.0.0.1:{server.server_port}/", content=PROMPT)
            json.loads(answer.content)
        spent = time.process_time() - begun
    server.shutdown()
    server.server_close()
    return (spent - served["cpu"]) / steps * 1e3


def stored(folder: Path) -> list[tuple[str, int]]:
    """Bytes by store."""
    rows = [(name, (folder / name).stat().st_size) for name in ("checkpoints.sqlite", "ledger.sqlite", "events.jsonl")]
    vectors = sum(path.stat().st_size for path in (folder / "vectors").rglob("*") if path.is_file())
    db = sqlite3.connect(folder / "checkpoints.sqlite")
    inside = [
        ("  of it, states", db.execute("SELECT sum(length(checkpoint) + length(metadata)) FROM checkpoints").fetchone()[0]),
        ("  of it, writes of tasks", db.execute("SELECT sum(length(value)) FROM writes").fetchone()[0]),
    ]
    db.close()
    return [rows[0], *inside, *rows[1:], ("vectors", vectors)]


async def main() -> None:
    parser = argparse.ArgumentParser(description="what a step takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedder", default="none")
    args = parser.parse_args()
    world, steps = long_run_world.make(args.seed), long_run_world.STEPS
    bare_ms = await bare_loop(steps)
    mind = Mind(world, Host(long_run.ROW.window_tokens, long_run.ROW.max_output_tokens))
    with tempfile.TemporaryDirectory() as name:
        outcome = await long_run.ours(world, mind, Path(name), args.embedder)
        ours_ms = outcome.cpu_s / steps * 1e3
        print(f"{'own CPU, ms a step':<28} {ours_ms:10.1f}")
        print(f"{'a bare loop of httpx':<28} {bare_ms:10.1f}")
        print(f"{'ratio':<28} {ours_ms / bare_ms:10.1f}")
        print(f"\n{'on disk':<28} {'bytes':>10} {'a step':>10}")
        for what, size in stored(Path(name)):
            print(f"{what:<28} {size:10,} {size / steps:10,.0f}")


if __name__ == "__main__":
    asyncio.run(main())
