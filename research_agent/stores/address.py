"""A PostgreSQL server's URL, its password apart: only the rest of it is ever shown or written."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

_SECRET_OPTIONS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    url: str
    """Without a password."""
    password: SecretStr | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, value: object) -> PostgresUrl:
        """Raises ValueError, without the value in it."""
        if isinstance(value, PostgresUrl):
            return value
        text = value.strip() if isinstance(value, str) else ""
        scheme, rest = text.partition("://")[::2]
        if scheme not in ("postgresql", "postgres") or any(char.isspace() for char in text) or "#" in text:
            raise ValueError("not the address of a PostgreSQL server")
        # A password may hold what ends a host: the last @ before the query divides them.
        before, asked, query = rest.partition("?")
        if any(name.lower() in _SECRET_OPTIONS for name, _ in parse_qsl(query, keep_blank_values=True)):
            raise ValueError("a password among the options")
        who, at, where = before.rpartition("@")
        user, colon, password = who.partition(":")
        if "@" in user or "/" in user or not (where.partition("/")[0] or query):
            raise ValueError("not the address of a PostgreSQL server")
        return cls(f"postgresql://{user}{at}{where}{asked}{query}", SecretStr(unquote(password)) if colon and password else None)

    @property
    def place(self) -> str:
        """Server and database, as a person would name them."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2] or 'the local socket'}{parts.path}"

    def __str__(self) -> str:
        return self.url
