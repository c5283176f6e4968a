"""A child program that serves one OpenAI-compatible answer, with the bad habits of real ones on request."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Handler(BaseHTTPRequestHandler):
    """Health, a listing with one model, and the answer."""

    lists_only = False
    flood = 0
    halt: float | None = None

    def do_GET(self) -> None:
        if self.path == "/health" and not self.lists_only:
            self._answer(200, b"{}")
        elif self.path == "/v1/models":
            self._answer(200, b'{"object": "list", "data": [{"id": "toy", "owned_by": "tests"}]}')
        else:
            self._answer(404, b"Not Found")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print("asked for", asked["model"], flush=True)
        for _ in range(self.flood):
            print("x" * 1000, flush=True)
        if self.halt is not None:
            self._answer(200, f"data: {json.dumps(CHUNK)}\n\n".encode(), "text/event-stream")
            time.sleep(self.halt)
            return
        events = "".join(f"data: {json.dumps(event)}\n\n" for event in (CHUNK, STOP))
        self._answer(200, f"{events}data: [DONE]\n\n".encode(), "text/event-stream")

    def _answer(self, status: int, body: bytes, media_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--exit", type=int, help="print a reason and end with this code at once")
    parser.add_argument("--mute", action="store_true", help="live, but never listen")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM and SIGHUP")
    parser.add_argument("--lists-only", action="store_true", help="know no /health")
    parser.add_argument("--flood", type=int, default=0, help="kilobytes to print for each request")
    parser.add_argument("--halt", type=float, help="seconds to keep silent after the first word, and hang up then")
    parser.add_argument("--child", action="store_true", help="start a process that sleeps, and print its pid")
    args = parser.parse_args()
    print("secret" if any(name.startswith("HATCHERY_") for name in os.environ) else "no secrets", flush=True)
    if args.exit is not None:
        print("the model is broken", flush=True)
        sys.exit(args.exit)
    if args.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if args.child:
        print("child", subprocess.Popen(["sleep", "600"]).pid, flush=True)
    if args.mute:
        signal.pause()
    Handler.lists_only = args.lists_only
    Handler.flood = args.flood
    Handler.halt = args.halt
    ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
