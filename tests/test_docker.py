"""The Dockerfile, read line by line: its steps are tried without Docker where that is not there."""

import fnmatch
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from residuum.cli import VERBS, app

ROOT = Path(__file__).parent.parent
Step = tuple[str, str]


def steps() -> list[Step]:
    """Return (instruction, what follows it) in order; a line that goes on on the next is one."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[Step]:
    found = steps()
    return found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]


def last(word: str) -> str:
    return [rest for found, rest in last_stage() if found == word][-1]


def test_the_server_is_process_one_so_that_a_signal_reaches_it() -> None:
    assert json.loads(last("ENTRYPOINT"))[:2] == ["residuum", "serve"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_its_flags_are_those_of_the_verb() -> None:
    if "serve" not in {verb.name for verb in VERBS}:
        pytest.skip("this copy has no verb serve")
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    _, bound, *_ = app.parse_args(command[1:], exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    assert (settings.host, settings.port, settings.runs) == ("0.0.0.0", int(last("EXPOSE")), ("/model",))


def test_nobody_is_root_and_no_tool_of_the_build_is_left() -> None:
    words = [word for word, _ in last_stage()]
    assert last("USER").isdigit()
    assert int(last("USER")) > 0
    assert words.index("USER") > words.index("RUN")
    assert all("pip" not in rest and "apt" not in rest for word, rest in last_stage() if word == "RUN")


def test_torch_comes_first_and_from_the_index_without_cuda() -> None:
    installs = [rest for word, rest in steps() if word == "RUN" and "pip install" in rest]
    assert '--index-url "${TORCH_INDEX}"' in installs[0]
    assert "torch" in installs[0]
    assert "--index-url" not in installs[1]  # torch is there: none other is looked for
    default = next(rest for word, rest in steps() if rest.startswith("TORCH_INDEX="))
    assert default.endswith("/cpu")


def test_what_is_copied_is_there_and_nothing_else_is_sent_to_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest.split()[:-1] for word, rest in steps() if word == "COPY" and not rest.startswith("--from")]
    assert {name for names in copied for name in names} == kept
    assert all((ROOT / name).exists() for name in kept)
    assert ignored[0] == "*"
    assert not any(fnmatch.fnmatch(name, pattern) for name in kept for pattern in ignored[1:])


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_the_server(status: int) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    python, flag, code = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert (python, flag) == ("python", "-c")
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.handle_request).start()
        here = code.replace(":8000/", f":{server.server_port}/")
        assert here != code
        if status == 200:
            exec(here, {})
        else:
            with pytest.raises(OSError, match="503"):
                exec(here, {})


@pytest.mark.slow
def test_its_pip_steps_give_a_server_without_cuda(tmp_path: Path) -> None:
    """Runs what the first stage runs, in a folder; $TORCH_INDEX names the index where the usual one is out of reach."""
    declared = (rest.partition("=") for word, rest in steps() if word == "ARG")
    known = {**{name: value for name, _, value in declared}, **os.environ}
    for word, rest in steps()[: len(steps()) - len(last_stage())]:
        if word == "RUN":
            command = rest.replace("/opt/residuum", str(tmp_path / "venv")).replace("python -m", f"{sys.executable} -m")
            done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, cwd=ROOT, env=known)
            if done.returncode and "--index-url" in rest and "TORCH_INDEX" not in os.environ:
                pytest.skip("torch's index is out of reach; set TORCH_INDEX to a mirror")
            assert done.returncode == 0, done.stderr[-2000:]
    here = tmp_path / "venv/bin"
    there = subprocess.run([here / "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "nvidia" not in there
    assert "starlette" in there
    subprocess.run([here / "residuum", "serve", "--help"], check=True, capture_output=True)
