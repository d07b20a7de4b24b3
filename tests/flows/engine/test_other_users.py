"""Other users of the machine, pages of other sites, and the user's own settings: none of them changes a run."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

HERE = Path(__file__).parent
NOBODY = 65534
#: Of a user with settings of Prefect and Dask, behind a proxy, as in a hospital.
THEIRS = {
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_API_KEY": "pnu_theirs",
    "prefect_server_api_host": "0.0.0.0",
    "PREFECT_SERVER_API_BASE_PATH": "/theirs",
    "PREFECT_LOGGING_LEVEL": "NONSENSE",
    "WEB_CONCURRENCY": "3",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "7",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "yes",
    "OMP_NUM_THREADS": "16",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5h://127.0.0.1:9",
    "NO_PROXY": "intranet.example.org",
}

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A server and a cluster, started by a user with settings of their own in every place that is read."""
    folder = tmp_path_factory.mktemp("house")
    theirs = folder / "theirs.db"
    for place in ("home/.prefect", "home/.config/dask", "work", "run/prefect"):
        (folder / place).mkdir(parents=True)
    url = f"sqlite+aiosqlite:///{theirs}"
    (folder / "home/.prefect/profiles.toml").write_text(
        f'active = "x"\n[profiles.x]\nPREFECT_API_DATABASE_CONNECTION_URL = "{url}"\n'
    )
    (folder / "home/.config/dask/own.yaml").write_text("distributed:\n  scheduler:\n    allowed-failures: 9\n")
    (folder / "work/.env").write_text(f"PREFECT_API_DATABASE_CONNECTION_URL={url}\nPREFECT_CLIENT_MAX_RETRIES=x\n")
    (folder / "work/prefect.toml").write_text(f'[server.database]\nconnection_url = "{url}"\n')
    (folder / "work/pyproject.toml").write_text("this is not TOML")
    evil = folder / "executed"
    (folder / "run/prefect/logging.yml").write_text(
        f"version: 1\nformatters:\n  x:\n    (): pathlib.Path.touch\n    self: !!python/name:x\n# {evil}\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(HERE / "open_house.py"), str(folder / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder / "work",
        env=os.environ
        | THEIRS
        | {"HOME": str(folder / "home"), "PREFECT_API_DATABASE_CONNECTION_URL": url}
        | {"PYTHONPATH": str(HERE.parents[2])},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the house did not open"
    facts = json.loads(line) | {"theirs": str(theirs), "folder": str(folder / "run"), "pid": process.pid}
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    facts["listening"] = sorted(
        {c.laddr for member in family for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    )
    yield facts
    process.communicate("", timeout=60)


def ask(house: dict[str, Any], path: str = "/flows/filter", **headers: str) -> int:
    """Status of a request to Prefect's API."""
    request = urllib.request.Request(house["api"] + path, data=b"{}" if "filter" in path else None, headers=headers)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def credentials(house: dict[str, Any]) -> str:
    """Header of who may ask."""
    return "Basic " + base64.b64encode(house["credentials"].encode()).decode()


def test_settings_of_the_user_do_not_reach_the_run(house: dict[str, Any]) -> None:
    assert not Path(house["theirs"]).exists()
    assert (Path(house["folder"]) / "prefect" / "prefect.db").stat().st_size > 0
    assert house["allowed_failures"] == 0
    assert {worker["OMP_NUM_THREADS"] for worker in house["everywhere"]} == {"1"}


def test_nothing_listens_beyond_loopback(house: dict[str, Any]) -> None:
    assert {address for address, _ in house["listening"]} == {"127.0.0.1"}


def test_each_gpu_has_a_worker_and_no_other_worker_sees_one(house: dict[str, Any]) -> None:
    assert house["offered"] == ["GPU"]
    assert house["with_gpu"]["CUDA_VISIBLE_DEVICES"] == "GPU-nowhere"
    assert sorted(worker["CUDA_VISIBLE_DEVICES"] for worker in house["everywhere"]) == ["", "GPU-nowhere"]


def test_workers_and_server_are_ended_before_the_command_where_memory_runs_out(house: dict[str, Any]) -> None:
    own = int(Path(f"/proc/{house['pid']}/oom_score_adj").read_text())
    server = next(
        child for child in psutil.Process(house["pid"]).children() if "flows.engine.prefect_server" in child.cmdline()
    )
    assert own < int(Path(f"/proc/{server.pid}/oom_score_adj").read_text())
    assert all(int(worker["oom"]) > own for worker in house["everywhere"])


def test_the_api_answers_who_knows_the_credentials_and_comes_from_no_other_page(house: dict[str, Any]) -> None:
    known = {"Authorization": credentials(house)}
    assert ask(house, **known) == 200
    assert ask(house, **known, Origin=f"http://127.0.0.1:{house['port']}") == 200
    assert ask(house, **known, Host=f"localhost:{house['port']}") == 200
    assert ask(house) == 401
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{house['port']}", "http://127.0.0.1"):
        assert ask(house, **known, Origin=origin) == 403
    for host in (f"evil.example:{house['port']}", "127.0.0.1", f"127.0.0.1.evil.example:{house['port']}"):
        assert ask(house, **known, Host=host) == 403
        assert ask(house, "/health", Host=host) == 403


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused_everywhere(house: dict[str, Any]) -> None:
    target = {
        "ports": [port for _, port in house["listening"]],
        "scheduler": house["scheduler"],
        "api": house["api"],
        "folders": [str(Path(house["folder"]) / "prefect"), house["home"]],
    }
    command = [sys.executable, str(HERE / "intruder.py"), str(NOBODY), json.dumps(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "uid": NOBODY,
        "scheduler, clear text": "CommClosedError",
        "scheduler, certificates of one's own": "FatalCommClosedError",
        "ports in clear text": 0,
        "pages": 0,
        "api": 401,
        "api, guessed": 401,
        "folders": ["PermissionError"] * 2,
    }
