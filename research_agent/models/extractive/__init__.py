"""The extractive model: a chat model without a language model in it. Everything it says is a quotation of what it was shown."""

from .model import ExtractiveChatModel

__all__ = ["ExtractiveChatModel"]
