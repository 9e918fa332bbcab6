"""What a run tells as it goes: the events a terminal shows, `events.jsonl` keeps, and an application can stream.

type          fields
start         question, model                       the terminal's own: before anything is loaded
run           id, folder, question, model, resumed, rewritten, parent: {id, step}
                                                    rewritten: only its report is, by `model`; parent: of a fork that begins
so_far        step, steps, tokens, usd, seconds     of a run that goes on, what its earlier sessions came to; not logged
index         done, total, path                     progress over the search folder
warning       text
plan          brief, plan: [{id, question, status, answer}]
approval      plan                                  waiting for a person
sub_question  id, question, status, answer
thought       text, role                            a piece of reasoning as it streams; not logged
text          text, role                            a piece of the answer as it streams; not logged
turn          role, reasoning, content, calls: [{id, name, args, step}], usage, usd, seconds
usage         id, role, model, input, cached, output, reasoning, usd    one call of a model, whatever came of it
call          id, step, name, args, sub_question
result        id, step, name, ok, summary, sources: [{handle, title, url}], seconds
finding       step, handle, claim, quote, sub_question
lost          findings, tasks                       hashes of what was noted and is lost; tasks that make calls again; in the log only
compaction    turns, before_tokens, after_tokens
summary       text, turns                           of what left the prompt, where the config names a summarizer
review        verdict, follow_ups
retry         reason, wait_s, attempt
report        path, answer
vectors       left                                  pieces that are still to be embedded, after the report; not logged
end           status, reason, steps, usd, tokens, seconds, folder
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]
"""`type` and the fields above: plain JSON."""

STREAMED_ONLY = frozenset({"thought", "text", "index"})
