"""A server on loopback that answers chat completions with what a test tells it to say."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint:
    """``reply`` makes (status, body) of a request; ``asked`` and ``keys`` remember paths, bodies and keys."""

    def __init__(self, content):
        self.asked, self.keys = [], []
        self.reply = lambda body: (200, content)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body))
                outer.keys.append(self.headers.get("Authorization"))
                status, content = outer.reply(body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextlib.contextmanager
def chat_endpoint(monkeypatch, content):
    """An endpoint that says ``content`` until its ``reply`` is set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Endpoint(content)
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
