"""Documents to be read: an article, and PDFs made here."""

from __future__ import annotations

import io

from pypdf import PdfWriter


def pdf(*pages: str, title: str = "") -> bytes:
    """A small, valid PDF: one page for each text, one line for each line."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in page.splitlines()]
        stream = ("BT /F1 12 Tf 72 720 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET").encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
            % len(objects)
        )
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    objects.append(b"<< /Title (%s) >>" % title.encode())
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        xref,
        len(objects) + 1,
        len(objects),
        len(out),
    )


def encrypted() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


ARTICLE = """<!doctype html><html lang="en"><head><title>Tides &amp; Moons</title><script>var x = "hidden";</script></head><body>
<nav><a href="/">Home</a> <a href="/about">About</a></nav><article><h1>Tides and Moons</h1>
<p>The moon raises the tides of the sea, and the sea slows the turning of the earth by a little each century.</p>
<p>Spring tides come at the new and at the full moon, when the sun pulls along the same line as the moon does.</p>
<h2>Ranges</h2><table><tr><th>Place</th><th>Range</th></tr><tr><td>Bay of Fundy</td><td>16 m</td></tr></table>
<ul><li>neap tides are weak</li><li>spring tides are strong</li></ul></article><footer>All rights reserved</footer></body></html>"""
