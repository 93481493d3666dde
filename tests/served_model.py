"""A server with OpenAI's API whose model turns `if NAME == None:` into `if NAME is None:`, and which can fail on purpose.

Run as a script it prints its port and logs each request to --log, one JSON line with path, authorization and body.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

QUESTION = re.compile(r"if (\w+) == None:")
LONGEST_HOLD_S = 60


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options: argparse.Namespace
    failures: list[str]
    answered = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            with self.options.log.open("a") as stream:
                stream.write(
                    json.dumps({"path": self.path, "authorization": self.headers["Authorization"], "body": body}) + "\n"
                )
            failure = self.failures.pop(0) if self.failures else ""
            held = not failure and self.options.hold_after is not None and Handler.answered >= self.options.hold_after
            Handler.answered += not failure and not held
        if held:
            wait_until(self.options.release.exists)
        if failure == "drop":
            self.close_connection = True
            self.connection.close()
        elif failure == "cut":
            self.reply(200, b'{"choices": [', length=1000)
            self.close_connection = True
        elif failure == "hang":
            wait_until(lambda: False, at_most_s=8)
        elif failure == "html":
            self.reply(200, b"<html>hello</html>")
        elif failure == "empty":
            self.reply(200, b'{"object": "list"}')
        elif failure:
            status, _, wait = failure.partition("/")
            self.reply(int(status), json.dumps({"error": {"message": f"failing with {status} on purpose"}}).encode(), wait)
        else:
            self.answer(body)

    def answer(self, body: dict) -> None:
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        if self.options.key and self.headers["Authorization"] != f"Bearer {self.options.key}":
            self.reply(401, b'{"error": {"message": "Incorrect API key provided"}}')
        elif not self.path.startswith("/v1/"):
            self.reply(404, b'{"detail": "Not Found"}')
        elif "TOO LONG" in prompt:
            message = "This model's maximum context length is 8 tokens."
            self.reply(400, json.dumps({"error": {"message": message, "code": "context_length_exceeded"}}).encode())
        else:
            asked = QUESTION.search(prompt)
            text = f"if {asked[1]} is None:\n" if asked else "?"
            count = 1 if self.options.only_one else body["n"]
            choices = [self.choice(index, text, body, chat) for index in range(count)]
            # each choice is counted as three tokens
            answer = {"choices": choices[::-1], "usage": {"completion_tokens": 3 * count}}
            self.reply(200, json.dumps(answer).encode())

    def choice(self, index: int, text: str, body: dict, chat: bool) -> dict:
        choice = {"index": index, "finish_reason": self.options.finish_reason}
        if chat:
            choice["message"] = {"role": "assistant", "content": f"```python\n{text}```"}
        else:
            choice["text"] = text + "#" * index
        if body.get("logprobs") and not self.options.no_logprobs:
            values = [-0.5, -0.25 * (index + 1)]
            choice["logprobs"] = {"content": [{"logprob": value} for value in values]} if chat else {"token_logprobs": values}
        return choice

    def reply(self, status: int, content: bytes, retry_after: str = "", length: int | None = None) -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None: ...


def wait_until(happened, at_most_s: float = LONGEST_HOLD_S) -> None:
    end = time.monotonic() + at_most_s
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--fail", default="", help="what the first requests meet, as 429/2,500,drop")
    parser.add_argument("--hold-after", type=int, help="so many answers, then none before the file --release is there")
    parser.add_argument("--release", type=Path)
    parser.add_argument("--key", default="")
    parser.add_argument("--only-one", action="store_true", help="knows no n")
    parser.add_argument("--no-logprobs", action="store_true")
    parser.add_argument("--finish-reason", default="stop")
    Handler.options = parser.parse_args()
    Handler.failures = [failure for failure in Handler.options.fail.split(",") if failure]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
