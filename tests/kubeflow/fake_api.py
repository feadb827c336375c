"""A server that speaks the part of the Kubeflow Pipelines API v2beta1 that `edgemill submit` needs, in memory.

Bodies and paths as in the API's reference (`backend/api/v2beta1/*.proto` of kubeflow/pipelines); errors are
google.rpc.Status in JSON, as its gateway writes them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]


class FakeApi:
    """State, and how the server fails.

    Attributes:
        token: The only bearer token it takes; None takes everybody.
        failures: (method, pattern of the path) -> (status, message).
        pages_of: How many items a list has per page.
    """

    def __init__(self) -> None:
        self.token: str | None = None
        self.failures: dict[tuple[str, str], tuple[int, str]] = {}
        self.pages_of = 1
        self.pipelines: list[Json] = []
        self.versions: list[Json] = []
        self.experiments: list[Json] = []
        self.runs: list[Json] = []
        self.recurring: list[Json] = []
        self.requests: list[str] = []
        self.url = ""

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Json]:
        parts = urlsplit(target)
        self.requests.append(f"{method} {parts.path}")
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            # A careless proxy: it repeats what it was given.
            return _error(401, 16, f"Request not authenticated: {headers.get('Authorization')}")
        for (verb, pattern), (status, message) in self.failures.items():
            if method == verb and re.fullmatch(pattern, parts.path):
                return _error(status, 13, message)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self._route(method, parts.path.removeprefix("/apis/v2beta1"), query, headers, body)

    def _route(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> tuple[int, Json]:
        match method, path.strip("/").split("/"):
            case "GET", ["healthz"]:
                return 200, {"multi_user": False}
            case "GET", ["pipelines"]:
                return self._listed("pipelines", self.pipelines, query)
            case "POST", ["pipelines"]:
                return self._make(self.pipelines, "pipeline_id", json.loads(body))
            case "POST", ["pipelines", "upload_version"]:
                if query["pipelineid"] not in {each["pipeline_id"] for each in self.pipelines}:
                    return _error(404, 5, f"Pipeline {query['pipelineid']} not found")
                spec = next(iter(yaml.safe_load_all(_uploaded(headers, body))))
                version = {"display_name": query["name"], "pipeline_id": query["pipelineid"], "pipeline_spec": spec}
                return self._make(self.versions, "pipeline_version_id", version)
            case "GET", ["pipelines", pipeline, "versions"]:
                own = [each for each in self.versions if each["pipeline_id"] == pipeline]
                return self._listed("pipeline_versions", own, query)
            case "GET", ["experiments"]:
                return self._listed("experiments", self.experiments, query)
            case "POST", ["experiments"]:
                return self._make(self.experiments, "experiment_id", json.loads(body))
            case "POST", ["runs"]:
                return self._make(self.runs, "run_id", json.loads(body), unique=False)
            case "GET", ["recurringruns"]:
                return self._listed("recurringRuns", self.recurring, query)
            case "POST", ["recurringruns"]:
                return self._make(self.recurring, "recurring_run_id", json.loads(body), unique=False)
        return _error(404, 5, "Not Found")

    def _make(self, kept: list[Json], key: str, item: Json, unique: bool = True) -> tuple[int, Json]:
        parent = "pipeline_id" if key == "pipeline_version_id" else "namespace"
        if unique and any(
            each["display_name"] == item["display_name"] and each.get(parent) == item.get(parent) for each in kept
        ):
            return _error(409, 6, f"{item['display_name']} already exists")
        made = {**item, key: f"{key}-{len(kept)}", "created_at": "2026-01-01T00:00:00Z"}
        kept.append(made)
        return 200, made

    def _listed(self, name: str, items: list[Json], query: dict[str, str]) -> tuple[int, Json]:
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", ()):
            wanted = predicate.get("stringValue") or predicate.get("string_value")
            items = [each for each in items if each[predicate["key"]] == wanted]
        if name in {"pipelines", "experiments"}:
            items = [each for each in items if each.get("namespace", "") == query.get("namespace", "")]
        first = int(query.get("page_token") or 0)
        answer: Json = {name: items[first : first + self.pages_of], "total_size": len(items)} if items else {}
        if first + self.pages_of < len(items):
            answer["next_page_token"] = str(first + self.pages_of)
        return 200, answer


def _error(status: int, code: int, message: str) -> tuple[int, Json]:
    return status, {"error": message, "code": code, "message": message, "details": []}


def _uploaded(headers: Any, body: bytes) -> str:
    """The file `uploadfile` of a multipart form."""
    whole = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
    )
    part = next(
        each for each in whole.iter_parts() if each.get_param("name", header="content-disposition") == "uploadfile"
    )
    return part.get_payload(decode=True).decode()


@contextmanager
def served(api: FakeApi) -> Iterator[FakeApi]:
    """The API on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = api.answer(self.command, self.path, self.headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
