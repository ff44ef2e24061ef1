"""A small writer of PDF files: pages of lines in Helvetica, and metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LINE_HEIGHT = 14
TOP = 780

# Of the standard security handler, with keys that no password opens.
_LOCKED = f"<</Filter/Standard/V 1/R 2/P -44/O <{'41' * 32}>/U <{'42' * 32}>>>"


def pdf(
    *pages: Sequence[str], info: Mapping[str, str] | None = None, locked: bool = False, version: str = "1.4"
) -> bytes:
    """Return a PDF."""
    numbers = range(4, 4 + 2 * len(pages), 2)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects: dict[int, bytes] = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    }
    for number, lines in zip(numbers, pages, strict=True):
        objects[number] = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {number + 1} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        ).encode()
        objects[number + 1] = _stream(lines)
    trailer = f"/Size {len(objects) + 3}/Root 1 0 R/ID[<{'00' * 16}><{'00' * 16}>]"
    if info is not None:
        number = len(objects) + 1
        entries = "".join(f"/{name} {_string(text)}" for name, text in info.items())
        objects[number] = f"<<{entries}>>".encode("latin-1")
        trailer += f"/Info {number} 0 R"
    if locked:
        number = len(objects) + 1
        objects[number] = _LOCKED.encode()
        trailer += f"/Encrypt {number} 0 R"
    return _file(objects, trailer, version)


def _stream(lines: Sequence[str]) -> bytes:
    shown = b"".join(b"(" + _escaped(line).encode("cp1252") + b") Tj T*\n" for line in lines)
    content = f"BT /F1 11 Tf {LINE_HEIGHT} TL 50 {TOP} Td\n".encode() + shown + b"ET"
    return f"<</Length {len(content)}>>\nstream\n".encode() + content + b"\nendstream"


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "()\\" else character for character in text)


def _string(text: str) -> str:
    """Return a text string, as UTF-16 if it is not ASCII."""
    if text.isascii():
        return f"({_escaped(text)})"
    return f"<FEFF{text.encode('utf-16-be').hex()}>"


def _file(objects: Mapping[int, bytes], trailer: str, version: str) -> bytes:
    body = bytearray(f"%PDF-{version}\n%\xe2\xe3\xcf\xd3\n".encode("latin-1"))
    places = {0: 0}
    for number, value in objects.items():
        places[number] = len(body)
        body += f"{number} 0 obj\n".encode() + value + b"\nendobj\n"
    start = len(body)
    body += f"xref\n0 {len(places)}\n0000000000 65535 f \n".encode()
    for number in range(1, len(places)):
        body += f"{places[number]:010} 00000 n \n".encode()
    body += f"trailer\n<<{trailer}>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(body)
