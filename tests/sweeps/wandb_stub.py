"""A loopback stand-in for the W&B server: the few requests that one run makes, recorded, with faults on demand.

Answers the GraphQL operations of ``wandb-core`` (project upsert, upload URLs, organisation, viewer), the file stream
that carries history, summary and exit code, and the PUT uploads of files. Listens on 127.0.0.1, on a free port.
"""

import json
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"


class WandbStub:
    """Context manager; ``url`` is the base URL.

    Args:
        fault: what goes wrong: None, "429" (every such request is answered 429) or "reset" (the connection is reset).
        where: which requests are hit: "graphql" or "file_stream".
        after: how many of those requests are served well first.
    """

    def __init__(self, *, fault: str | None = None, where: str = "graphql", after: int = 0) -> None:
        self.fault, self.where, self.after = fault, where, after
        self.operations: list[str] = []
        self.upserts: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.uploads: dict[str, bytes] = {}
        self.exit_codes: list[int] = []
        self.peers: set[str] = set()
        self.faults = 0
        self._served: dict[str, int] = {}
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                stub.answer(self, self._body())

            def do_GET(self) -> None:
                self.send(200, {})

            def do_PUT(self) -> None:
                body = self._body()
                with stub._lock:
                    stub.uploads[self.path.removeprefix("/upload/")] = body
                self.send(200, {})

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def send(self, status: int, content: Any) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def reset(self) -> None:
                # A zero linger turns the close into a TCP reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RD)
                self.connection.close()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "WandbStub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: Any, body: bytes) -> None:
        """One POST request: GraphQL or file stream, or the fault that is due."""
        kind = "file_stream" if handler.path.endswith("/file_stream") else "graphql"
        with self._lock:
            self.peers.add(handler.client_address[0])
            served = self._served.get(kind, 0)
            self._served[kind] = served + 1
            faulty = self.fault is not None and kind == self.where and served >= self.after
            self.faults += faulty
        if faulty:
            handler.send(429, {"error": "rate limit exceeded"}) if self.fault == "429" else handler.reset()
            return
        request = json.loads(body or b"{}")
        with self._lock:
            content = self._stream(request) if kind == "file_stream" else self._graphql(request)
        handler.send(200, content)

    def _stream(self, request: dict[str, Any]) -> dict[str, Any]:
        for name, chunk in (request.get("files") or {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self.history.extend(rows)
            elif name == "wandb-summary.json":
                self.summary = rows[-1]
        if request.get("complete"):
            self.exit_codes.append(int(request.get("exitcode", 0)))
        return {"limits": {}}

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        query, variables = request["query"], request.get("variables") or {}
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found.group(1) if found else "?"
        self.operations.append(name)
        if name == "UpsertBucket":
            self.upserts.append(variables)
            run = variables.get("name") or "run"
            return {
                "data": {
                    "upsertBucket": {
                        "inserted": True,
                        "bucket": {
                            "id": "bucket",
                            "name": run,
                            "displayName": variables.get("displayName") or run,
                            "description": None,
                            "config": "{}",
                            "sweepName": None,
                            "historyLineCount": 0,
                            "project": {
                                "id": "project",
                                "name": variables.get("project") or "uncategorized",
                                "entity": {"id": "entity", "name": variables.get("entity") or "stub"},
                            },
                        },
                    }
                }
            }
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}}
        if name == "FetchOrgEntityFromEntity":
            return {"data": {"entity": {"organization": None, "user": None}}}
        if name == "ServerFeaturesQuery":
            return {"data": {"serverInfo": {"features": []}}}
        if name == "ArtifactType":
            return {"data": {"project": {"artifact": None}}}
        if name == "CreateArtifact":
            # As if the server had the same content already: nothing more is uploaded for it.
            sequence = {"id": "sequence", "latestArtifact": {"id": "artifact", "versionIndex": 0}}
            artifact = {"id": "artifact", "state": "COMMITTED", "artifactSequence": sequence}
            return {"data": {"createArtifact": {"artifact": artifact}}}
        if name == "Viewer":
            return {
                "data": {
                    "viewer": {
                        "id": "user",
                        "username": "stub",
                        "entity": "stub",
                        "flags": "{}",
                        "email": "",
                        "teams": {"edges": []},
                    }
                }
            }
        return {"data": {}}
