"""A stand-in for wandb's server on the loopback: enough of it to show that what a run logs online would arrive."""

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "f" * 40  # of the form of a key
DATE = "2027-01-31T12:00:00Z"


class WandbServer(ThreadingHTTPServer):
    """Answers GraphQL queries and takes in streams and files; what came in is in the attributes below."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.runs: dict[str, dict[str, Any]] = {}  # id -> the variables of its UpsertBucket requests, together
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)  # id -> rows
        self.summary: dict[str, dict[str, Any]] = defaultdict(dict)
        self.exit_codes: dict[str, int] = {}
        self.files: dict[str, bytes] = {}  # "id/path" -> content
        self.views: dict[str, dict[str, Any]] = {}  # id -> the variables of upsertView: reports, workspaces
        self.silent = threading.Event()  # set: nothing is answered any more
        self.failing = threading.Event()  # set: all is answered with status 500
        self.paths: list[str] = []  # every request: a path, or the name of a GraphQL operation

    def query(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to a GraphQL request."""
        project = {"id": "1", "name": variables.get("project", ""), "entity": {"id": "2", "name": "somebody"}}
        match operation:
            case "Viewer":
                return {
                    "viewer": {"id": "3", "username": "somebody", "entity": "somebody", "flags": "{}", "teams": None}
                }
            case "UpsertBucket":
                run = self.runs.setdefault(variables["name"], {})
                inserted = not run
                run |= {key: value for key, value in variables.items() if value is not None}
                bucket = {"id": "4", "name": variables["name"], "displayName": run.get("displayName"), "config": "{}"}
                bucket |= {"sweepName": None, "historyLineCount": len(self.history[variables["name"]])}
                return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": inserted}}
            case "RunResumeStatus":
                return {"model": project | {"bucket": self._resume(variables["name"])}}
            case "CreateRunFiles":
                files = [{"name": f, "uploadUrl": f"{self.url}/put/{variables['run']}/{f}"} for f in variables["files"]]
                return {"createRunFiles": {"runID": "4", "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": None}
            case "CreateArtifact":  # of a table; "committed": no need to send it, as it comes with the run's files too
                sequence = {"id": "5", "latestArtifact": None}
                return {"createArtifact": {"artifact": {"id": "6", "state": "COMMITTED", "artifactSequence": sequence}}}
            case "Runs":  # from here on: what wandb.Api and reports ask
                return {"project": self._project(variables)}
            case "GetDefaultEntity":
                return {"viewer": {"id": "3", "entity": "somebody"}}
            case "GetProjects":
                page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
                names = {run["project"] for run in self.runs.values()}
                about: dict[str, Any] = {
                    "__typename": "Project",
                    "id": "1",
                    "entityName": "somebody",
                    "createdAt": DATE,
                }
                about |= {"isBenchmark": False, "user": None}
                edges = [{"node": about | {"name": name}} for name in sorted(names)]
                return {"models": {"pageInfo": page, "edges": edges}}
            case "ProjectInternalId":
                return {"project": {"id": "1", "internalId": "1"}}
            case "upsertView" | "UpsertView2":
                self.views[view_id := f"view{len(self.views)}"] = variables
                project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
                view = {"id": view_id, "project": project, "updatedAt": DATE}
                view |= {key: variables[key] for key in ("type", "name", "displayName", "description", "spec")}
                return {"upsertView": {"view": view, "inserted": True}}
            case _:
                return {}

    def _project(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        """A project with its runs, those of whose attributes `filters` says {"attribute": value, ...}."""
        if variables["project"] not in {run["project"] for run in self.runs.values()}:
            return None
        nodes = []
        for name, run in self.runs.items():
            node: dict[str, Any] = {"id": name, "name": name}
            node |= {"displayName": run.get("displayName"), "projectId": "1", "tags": []}
            node |= {"group": run.get("groupName"), "jobType": run.get("jobType"), "config": run.get("config", "{}")}
            node |= {"state": "finished", "createdAt": DATE, "heartbeatAt": DATE, "systemMetrics": "{}"}
            node |= {"summaryMetrics": json.dumps(self.summary[name]), "historyLineCount": 0}
            node["user"] = {"name": "somebody", "username": "somebody"}
            if all(node[key] == value for key, value in json.loads(variables["filters"]).items()):
                nodes.append({"node": node, "cursor": name})
        page = {"endCursor": None, "hasNextPage": False}
        return {"internalId": "1", "runCount": len(nodes), "runs": {"edges": nodes, "pageInfo": page}}

    def _resume(self, run: str) -> dict[str, Any] | None:
        if run not in self.runs:
            return None
        rows = self.history[run]
        counts = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]), "eventsTail": "[]"}
        bucket = {"id": "4", "name": run, "displayName": "n", "config": "{}", "summaryMetrics": "{}", "tags": []}
        return bucket | counts | tails | {"wandbConfig": json.dumps({"t": 1})}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        for name, chunk in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                rows = [json.loads(line) for line in chunk["content"]]
                self.history[run][chunk["offset"] :] = rows  # what is sent again replaces what had come
            elif name == "wandb-summary.json":
                self.summary[run] |= json.loads(chunk["content"][-1])
        if body.get("complete"):
            self.exit_codes[run] = body["exitcode"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


class Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        answer: dict[str, Any] = {}
        if self.server.failing.is_set():
            self.server.paths.append("failed")
            return self._answer(b"the server is broken", status=500)
        if self.path == "/graphql":
            request = json.loads(body)
            found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
            self.server.paths.append(found[1] if found else "?")
            answer = {"data": self.server.query(found[1] if found else "", request.get("variables") or {})}
        elif found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.server.paths.append(self.path)
            self.server.stream(found[1], json.loads(body))
        else:
            self.server.paths.append(self.path)
        self._answer(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        body = self._body()
        if self.server.failing.is_set():
            return self._answer(b"the server is broken", status=500)
        self.server.files[self.path.removeprefix("/put/")] = body
        self._answer(b"")

    def _body(self) -> bytes:
        while self.server.silent.is_set():
            time.sleep(0.1)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve() -> Iterator[WandbServer]:
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.silent.clear()
            server.shutdown()
            thread.join()
