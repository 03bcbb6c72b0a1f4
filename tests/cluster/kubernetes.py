"""As much of the Kubernetes API as Snakemake's plugin calls. It is no cluster: what a pod would run is run here, in a
folder of no interest, as in a pod, and what was asked for is kept.
"""

import base64
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{}}}}]
contexts: [{{name: here, context: {{cluster: here, user: me}}}}]
"""


class Pods:
    """The jobs that were posted, and their processes; `before` sees each command before it is run."""

    def __init__(self, environment: dict[str, str], before: Callable[[str], object]):
        self.environment, self.before = environment, before
        self.asked: list[dict[str, Any]] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.secrets: dict[str, str] = {}

    def keep(self, secret: dict[str, Any]) -> None:
        """Values that containers ask for by key."""
        self.secrets |= {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}

    def variables(self, container: dict[str, Any]) -> dict[str, str]:
        """The environment variables that a container takes from secrets."""
        asked = [entry for entry in container.get("env", []) if "valueFrom" in entry]
        return {entry["name"]: self.secrets[entry["valueFrom"]["secretKeyRef"]["key"]] for entry in asked}

    def start(self, job: dict[str, Any], folder: Path) -> None:
        """Run the command of the job's only container."""
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.asked.append(pod)
        self.before(container["args"][1])
        with (folder / f"{job['metadata']['name']}.log").open("wb") as log:
            self.processes[job["metadata"]["name"]] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=folder,
                env=self.environment | self.variables(container),
                stdout=log,
                stderr=log,
            )

    def status(self, name: str) -> dict[str, Any]:
        """The status of a job as Kubernetes words it."""
        ended = self.processes[name].poll()
        counts = {} if ended is None else {"succeeded": 1} if ended == 0 else {"failed": 1}
        return {"metadata": {"name": name}, "status": counts}


@contextmanager
def api(folder: Path, environment: dict[str, str], before: Callable[[str], object]) -> Iterator[Pods]:
    """Serve on a free port; the file `kubeconfig` in the folder leads there. Pods run with this environment."""
    pods = Pods(environment, before)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/secrets"):
                pods.keep(content)
            if self.path.endswith("/jobs"):
                pods.start(content, folder)
            self.answer(content)

        def do_GET(self) -> None:
            name = self.path.split("?")[0].removesuffix("/status").rpartition("/")[2]
            self.answer({"items": []} if name == "pods" else pods.status(name))

        def do_DELETE(self) -> None:
            self.answer({})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    (folder / "kubeconfig").write_text(KUBECONFIG.format(port=server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield pods
    finally:
        server.shutdown()
        server.server_close()
        for process in pods.processes.values():
            process.kill()
            process.wait()
