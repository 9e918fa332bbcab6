"""A structured answer by `response_format`, as LangChain's `with_structured_output` gives it."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass


def asked_by_format(
    chat: BaseChatModel, schema: Any, *, json_only: bool, include_raw: bool, strict: bool, **kwargs: Any
) -> Runnable[LanguageModelInput, Any]:
    """Asks for an object of the schema; with `json_only` for any, and what comes is held against the schema, if there is one."""
    if schema is None and not json_only:
        raise ValueError("with_structured_output needs a schema: a pydantic class, a TypedDict or a JSON schema")
    told = {"kwargs": {"method": "json_mode" if json_only else "json_schema"}, "schema": convert_to_openai_tool(schema) if schema else None}
    wanted = {"type": "json_object"} if json_only else _format(schema, strict)
    asked: Runnable[LanguageModelInput, Any] = chat.bind(response_format=wanted, ls_structured_output_format=told, **kwargs)
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    parser: Any = PydanticOutputParser(pydantic_object=schema) if is_class else JsonOutputParser()
    if not include_raw:
        plain: Runnable[LanguageModelInput, Any] = asked | parser
        return plain
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=asked) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _format(schema: Any, strict: bool) -> dict[str, Any]:
    wire = convert_to_json_schema(schema)
    return {"type": "json_schema", "json_schema": {"name": wire.get("title", "answer"), "schema": wire, "strict": strict}}
