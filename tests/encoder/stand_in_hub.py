"""A model hub on this machine: it serves one directory at every name, and may serve it badly."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import struct
from pathlib import Path
from typing import cast

WEIGHTS = "model.safetensors"


class StandInHub(http.server.ThreadingHTTPServer):
    """What it was asked for is in `asked` (paths) and `ranges` (of the weights, `Range` headers)."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.directory = directory
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        # How it misbehaves: announce the hashes of content with this behind it; refuse one file;
        # drop the first connections for the weights after so many bytes, politely or with a reset;
        # serve something else to who asks for the rest.
        self.lie = b""
        self.failing = ""
        self.cuts: list[int] = []
        self.resets = False
        self.spoils_rests = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def etag(self, file: Path) -> str:
        content = file.read_bytes() + self.lie
        if file.name == WEIGHTS:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Answer(http.server.BaseHTTPRequestHandler):
    """One connection, with the paths and headers of huggingface.co."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> StandInHub:
        return cast("StandInHub", self.server)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.hub.asked.append(path)
        if "/tree/" in path:
            self.answer(self.tree(), {"Content-Type": "application/json"})
        elif "/resolve/" not in path:
            self.answer(b"{}", {"Content-Type": "application/json"})
        else:
            revision, name = path.split("/resolve/")[1].split("/", 1)
            if name == self.hub.failing:
                self.send_error(403)
            else:
                self.serve(name, revision)

    def tree(self) -> bytes:
        directory = self.hub.directory
        files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        entries = [
            {
                "type": "file",
                "oid": self.hub.etag(path),
                "size": path.stat().st_size,
                "path": str(path.relative_to(directory)),
            }
            for path in files
        ]
        return json.dumps(entries).encode()

    def serve(self, name: str, revision: str) -> None:
        file = self.hub.directory / name
        content = file.read_bytes()
        headers = {"X-Repo-Commit": revision, "ETag": f'"{self.hub.etag(file)}"'}
        if name != WEIGHTS or self.command == "HEAD":
            self.answer(content, headers)
            return
        asked = self.headers["Range"]
        self.hub.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[::-1] if self.hub.spoils_rests else content
        self.answer(content[start:], headers, cut=self.hub.cuts.pop(0) if self.hub.cuts else None)

    def answer(self, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(206 if "Content-Range" in headers else 200)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            if self.hub.resets:
                on, seconds = 1, 0
                linger = struct.pack("ii", on, seconds)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

    def log_message(self, *_: object) -> None:
        pass
