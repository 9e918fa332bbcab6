from __future__ import annotations

import time

import pytest

from research_agent.redact import MARK, Redactor

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
KEY_BLOCK = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\nbmUAAAAEbm9uZQ\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key sk-proj-4f9aK2mQ7xW1zR8tB3nV6yL0 there", "4f9aK2mQ7x"),
        ("sk-ant-api03-4f9aK2mQ7xW1zR8t-B3nV6yL0", "4f9aK2mQ7x"),
        ("sk-or-v1-0123456789abcdef0123456789abcdef", "0123456789abcdef"),
        ("'tvly-dev-AbCdEf0123456789'", "AbCdEf0123456789"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "1234567890abc"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklm"),
        ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz", "abcdefghijkl"),
        ("hf_AbCdEfGhIjKlMnOpQrStUvWx123", "AbCdEfGhIjKl"),
        ("xoxb-123456789012-abcdefGHIJ", "123456789012"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        (f"token {JWT}.", "SflKxwRJSMeKKF2QT4"),
        ("Authorization: Bearer abc.def-ghi_jkl", "abc.def"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("authorization=Token 1234abcd", "1234abcd"),
        ("curl -H 'bearer 0123456789abcdefXYZ'", "0123456789abcdef"),
        ("https://user:hunter2@example.org/x", "hunter2"),
        ("postgresql://me:p%40ss!word@db/x", "p%40ss"),
        ("redis://:hunter2@host", "hunter2"),
        (f"before {KEY_BLOCK} after", "b3BlbnNzaC1rZXkt"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq", "MIIEvQ"),
        ("https://h/x?api_key=0123456789abcdef&y=1", "0123456789abcdef"),
        ('{"api_key": "9f8e7d6c5b4a3210"}', "9f8e7d6c5b4a3210"),
        ("X-API-Key: 9f8e7d6c5b4a3210", "9f8e7d6c5b4a3210"),
    ],
)
def test_what_has_a_keys_shape_is_cut_out(text: str, secret: str) -> None:
    redacted = Redactor()(text)
    assert secret not in redacted
    assert MARK in redacted


def test_what_stands_around_a_secret_stays() -> None:
    redact = Redactor()
    assert redact(f"before {KEY_BLOCK} after") == f"before {MARK} after"
    assert redact("https://user:hunter2@example.org/x?y=1") == f"https://{MARK}@example.org/x?y=1"
    assert redact("https://h/x?api_key=0123456789abcdef&y=1") == f"https://h/x?api_key={MARK}&y=1"
    assert redact("Authorization: Bearer abc.def-ghi_jkl\nAccept: */*") == f"Authorization: Bearer {MARK}\nAccept: */*"


def test_known_values_are_cut_out_wherever_they_stand() -> None:
    redact = Redactor(["hunter2hunter2", "hunter2hunter2-long", "abc", "  "])
    assert redact("xhunter2hunter2y hunter2hunter2-long abc") == f"x{MARK}y {MARK} abc"
    assert "hunter2" not in repr(redact)


@pytest.mark.parametrize(
    "text",
    [
        "sha256 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "handles [S1203, S1301] and ids 2e801cb02c4f68abd30fdb2c",
        "a risk-averse, task-oriented desk-based sk-learn pipeline-of-things",
        "The bearer of the news; bearer bonds are transferable-on-delivery.",
        "the authorization of the treaty took years",
        "Her password was never found. Password: see the manual",
        "sk-learn-contrib-something-longer-than-sixteen",
        "https://example.org/@user:8080/path mail me@example.org ssh://git@host/x http://host:80/a@b",
        "550e8400-e29b-41d4-a716-446655440000",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUA",
        "npm_config_registry and hf_hub_download_with_long_name",
        "The API key, a token: 12 dollars per million tokens: 262144",
        "東京 – Müller's Ü-30, 3.5 % of $2.00",
    ],
)
def test_hashes_handles_and_prose_stay(text: str) -> None:
    assert Redactor()(text) == text


def test_twice_is_once() -> None:
    redact = Redactor(["hunter2hunter2"])
    once = redact(f"hunter2hunter2 {KEY_BLOCK} https://u:p@h/ Authorization: Bearer abcdefgh api_key=0123456789abcdef")
    assert redact(once) == once


@pytest.mark.parametrize(
    "piece", ["The quick brown fox; it's 3.5 % of it.\n", "a", "sk-", "eyJ", "://", "-----BEGIN PRIVATE KEY-----", "api_key=", "bearer "]
)
def test_a_megabyte_takes_no_time_to_speak_of(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    redact = Redactor([f"secret-value-{n}" for n in range(20)])
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 2.0
