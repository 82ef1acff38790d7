"""A hub on this machine: repositories of models that huggingface_hub can make, fill and read."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    """Files by path, those kept as large ones among them, and the commits so far."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors lfs"})
    commits: list[str] = field(default_factory=lambda: [hashlib.sha1(b"0").hexdigest()])


class Asked(BaseHTTPRequestHandler):
    """Answers from what the server holds, where it may; `server.refuses` names what it will not do."""

    def log_message(self, *_arguments) -> None:
        """Say nothing."""

    def reply(self, content: object = None, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def repository(self) -> Repository | None:
        """The one whose name is in the path, if the token may see it."""
        named = next((name for name in self.server.repositories if f"/{name}" in self.path), None)
        found = self.server.repositories.get(named)
        allowed = self.headers.get("Authorization") == "Bearer secret"
        return found if found and (allowed or not found.private) else None

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if (found := self.repository()) is None:
            self.reply({"error": "no"}, 401, X_Error_Code="RepoNotFound")
        elif "/tree/main" in self.path:
            self.reply([entry(path, content, self.server.lies) for path, content in found.files.items()])
        elif "/resolve/main/" in self.path:
            self.reply(found.files[self.path.split("/resolve/main/")[1]])
        else:
            self.reply({"id": "x", "sha": found.commits[-1], "private": found.private, "tags": [], "siblings": []})

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = content = self.content()
        assert hashlib.sha256(content).hexdigest() in self.path
        self.server.puts += 1
        self.reply(b"")

    def content(self) -> bytes:
        if (length := self.headers.get("Content-Length")) is not None:
            return self.rfile.read(int(length))
        found = b""
        while size := int(self.rfile.readline(), 16):  # sent in chunks
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def do_POST(self) -> None:
        body, end = self.content(), self.path.partition("?")[0]
        self.server.asked.append(self.path)
        self.server.told += body
        if any(word in end for word in self.server.refuses):
            self.reply({"error": "not now"}, 403)
        elif end == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            self.server.repositories[name] = Repository(told["visibility"] == "private")
            self.reply({"url": f"{self.server.address}/{name}"})
        elif end == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in end:
            modes = [
                {"path": one["path"], "uploadMode": is_large(one["path"]), "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.reply({"files": modes})
        elif end.endswith("/info/lfs/objects/batch"):
            self.reply({"transfer": "basic", "objects": [self.place(one) for one in json.loads(body)["objects"]]})
        else:
            self.commit([json.loads(line) for line in body.splitlines()])

    def place(self, one: dict) -> dict:
        if one["oid"] in self.server.large:
            return one
        return {**one, "actions": {"upload": {"href": f"{self.server.address}/large/{one['oid']}"}}}

    def commit(self, lines: list[dict]) -> None:
        found = self.repository()
        if lines[0]["value"].get("parentCommit", found.commits[-1]) != found.commits[-1]:
            return self.reply({"error": "another has come in between"}, 412)
        for line in lines[1:]:
            told = line["value"]
            large = line["key"] == "lfsFile"
            found.files[told["path"]] = self.server.large[told["oid"]] if large else base64.b64decode(told["content"])
        found.commits.append(hashlib.sha1(repr(lines).encode()).hexdigest())
        address = f"{self.server.address}{self.path.removeprefix('/api/models').rpartition('/')[0]}"
        return self.reply({"commitUrl": f"{address}/{found.commits[-1]}", "commitOid": found.commits[-1]})


def is_large(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def entry(path: str, content: bytes, lies: bool) -> dict:
    """How the hub lists a file."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    listed = {"type": "file", "path": path, "size": len(content), "oid": git}
    if is_large(path) == "lfs":
        listed["lfs"] = {"oid": hashlib.sha256(content + b"?" * lies).hexdigest(), "size": len(content)}
    return listed


class MadeUpHub(ThreadingHTTPServer):
    """The hub: what it holds, what it was asked and told, and what it will not do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuses: set[str] = set()
        self.told, self.puts, self.lies = b"", 0, False


@contextmanager
def running_hub() -> Iterator[MadeUpHub]:
    """Run a hub until the block ends."""
    with MadeUpHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
