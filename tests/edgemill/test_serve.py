import json
import re
import signal
import sys
import urllib.request
from html import unescape
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.push.registry import open_registry
from components.spec.registry import LocalRegistry
from edgemill.main import app as command
from edgemill.serve.app import create_app
from edgemill.serve.server import listen
from tests.components.push.places import MODEL, manifest_of
from tests.pipelines.history.conftest import PastRoot
from tests.processes import running

SIZES = (23_000, 22_800, 22_900)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Three nights of one pipeline, and one of another that was killed."""
    past = PastRoot(tmp_path_factory.mktemp("past") / "root")
    past.ids = [
        past.run(night, changes=[("int8", -0.001 * night, size)], report=night == 2) for night, size in enumerate(SIZES)
    ]
    past.killed = past.run(3, "other<pipeline>", ended=False)
    return past


@pytest.fixture
def client(past):
    return create_app(past.root).test_client()


def rows(html):
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in body.split("</tr>") if "<tr" in row]


def order(client, query):
    return [row.split()[0] for row in rows(client.get(f"/?{query}").text)]


def test_first_page_lists_all_runs_newest_first(client, past) -> None:
    page = client.get("/").text
    assert [row.split()[0] for row in rows(page)] == [past.killed, *reversed(past.ids)]
    assert "phone_cpu: int8 , accuracy 0.8890, 22,900 bytes" in rows(page)[1]
    assert "other&lt;pipeline&gt;" in page
    assert "4 of 4 runs" in page


@pytest.mark.parametrize(
    ("query", "nights"),
    [
        ("sort=bytes&order=ascending&pipeline=fashion-mnist", [1, 2, 0]),
        ("sort=bytes&pipeline=fashion-mnist", [0, 2, 1]),
        ("sort=metric&pipeline=fashion-mnist", [0, 1, 2]),
        ("sort=started&order=ascending&state=pushed", [0, 1, 2]),
        ("sort=no_such_column&text=INT8", [2, 1, 0]),
        ("text=nobody", []),
    ],
)
def test_runs_are_filtered_and_sorted(client, past, query, nights) -> None:
    assert order(client, query) == [past.ids[night] for night in nights]


def test_runs_without_a_value_come_last_in_either_order(client, past) -> None:
    for direction in ("ascending", "descending"):
        assert order(client, f"sort=bytes&order={direction}")[-1] == past.killed


def test_heading_of_the_sorted_column_links_to_the_other_order(client) -> None:
    page = client.get("/?sort=bytes&text=int8").text
    assert '<th scope="col" aria-sort="descending"><a href="/?text=int8&amp;sort=bytes&amp;order=ascending">' in page


def test_page_of_a_pipeline_draws_trends_and_lists_fronts(client, past) -> None:
    page = client.get("/pipelines/fashion-mnist").text
    # Two charts of the phone over time, and one Pareto front. The other device never got anything.
    assert page.count("<svg") == 3
    trend = rows(page)
    assert [row.split()[0] for row in trend] == list(reversed(past.ids))
    assert "22,900" in trend[0] and "23,000" in trend[2]
    fronts = page.partition("<h2>Pareto fronts</h2>")[2]
    assert [row.split()[:2] for row in rows(fronts)][:2] == [[past.ids[2], "int8"], [past.ids[2], "dynamic"]]


def test_page_of_a_run_leads_to_its_files(client, past) -> None:
    newest = past.ids[2]
    page = client.get(f"/runs/{newest}").text
    assert f'href="/compare?before={past.ids[1]}&amp;after={newest}"' in page
    report = client.get(f"/runs/{newest}/report.html")
    assert report.data == (past.folder(newest) / "report.html").read_bytes()
    assert client.get(f"/runs/{newest}/summary.json").json["run_id"] == newest
    assert client.get(f"/runs/{past.ids[0]}/report.html").status_code == 404


def test_page_of_a_killed_run_says_how_to_write_its_summary(client, past) -> None:
    assert f"edgemill report {past.killed}" in client.get(f"/runs/{past.killed}").text


def test_comparison_shows_both_runs(client, past) -> None:
    page = client.get(f"/compare?before={past.ids[0]}&after={past.ids[1]}").text
    (int8,) = [row for row in rows(page) if row.startswith("int8 ")]
    assert int8 == "int8 0.8910 0.8900 23,000 22,800 same"


@pytest.mark.parametrize(
    "address",
    [
        "/runs/nothing",
        "/pipelines/nothing",
        "/runs/..%2f..%2fetc/report.html",
        "/compare?before=a&after=b",
        "/compare",
        "/x",
    ],
)
def test_unknown_address_is_not_found(client, address) -> None:
    assert client.get(address).status_code == 404


def test_nothing_can_be_changed(client, past) -> None:
    for address in ("/", f"/runs/{past.ids[0]}", "/channels"):
        assert client.post(address).status_code == client.delete(address).status_code == 405


def test_pages_forbid_scripts_and_other_servers(client, past) -> None:
    for address in (
        "/",
        "/pipelines/fashion-mnist",
        f"/runs/{past.ids[2]}/report.html",
        "/channels",
        "/style.css",
        "/x",
    ):
        answer = client.get(address)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
        assert "<script" not in answer.text
        assert set(re.findall(r'(?:src|href)="(https?:)?//', answer.text)) == set()


def test_names_of_other_hosts_are_refused_on_this_machine_only(past) -> None:
    elsewhere = {"Host": "attacker.example.org"}
    assert create_app(past.root).test_client().get("/", headers=elsewhere).status_code == 403
    assert create_app(past.root).test_client().get("/", headers={"Host": "127.0.0.1:8765"}).status_code == 200
    assert create_app(past.root, loopback=False).test_client().get("/", headers=elsewhere).status_code == 200


def test_empty_root_says_that_nothing_has_run(tmp_path: Path) -> None:
    assert "Nothing has run in this root yet" in create_app(tmp_path).test_client().get("/").text


def test_channels_show_what_devices_get(past, tmp_path: Path) -> None:
    root = PastRoot(tmp_path / "root")
    run = root.run(0, report=False)
    registry = open_registry(LocalRegistry(root=str(tmp_path / "registry")))
    release = registry.put("phone", "shoes", MODEL, manifest_of(MODEL))
    registry.commit(release)
    summary = root.folder(run) / "summary.json"
    pushed = "build/registry/phone_cpu/fashion-mnist/696e7438696e7438"
    summary.write_text(summary.read_text().replace(pushed, release.path))
    client = create_app(root.root).test_client()
    (intact,) = rows(client.get("/channels").text)
    assert release.path in intact and intact.endswith("intact")
    (Path(release.path) / "model.tflite").write_bytes(b"changed")
    (damaged,) = rows(client.get("/channels").text)
    assert "damaged" in damaged and "Remedy:" in damaged


def test_address_in_use_is_an_error(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        done = CliRunner().invoke(command, ["serve", "--root", str(tmp_path), "--port", port])
    assert (done.exit_code, f"--port {port}: the results page cannot listen" in done.output) == (2, True)


def test_command_prints_its_address_as_json_and_ends_with_ctrl_c(past) -> None:
    command = [sys.executable, "-m", "edgemill", "serve", "--root", str(past.root), "--port", "0", "--json"]
    with running(command) as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        assert printed["root"] == str(past.root)
        with urllib.request.urlopen(printed["url"], timeout=60) as page:
            assert past.killed in page.read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0 and process.stdout.read() == ""
