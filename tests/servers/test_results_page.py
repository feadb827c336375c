"""`edgemill serve` and the report in a real Chromium.

Needs the command `chromium` (Debian: apt-get install chromium). The tests of accessibility need axe-core too:
`make test-serve` fetches it with npm, and AXE_CORE can name its `axe.min.js`.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import websocket

from pipelines.report.render import write_report
from pipelines.report.summary import LineageNode, RunSummary
from tests.pipelines.history.conftest import PastRoot
from tests.processes import LIMIT_SECONDS, running

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = Path(os.environ.get("AXE_CORE") or "build/axe-core/package/axe.min.js").resolve()
NARROW = 390
# Of the servers that all tests of this file share.
SESSION_SECONDS = 1800.0
LONG = (
    "model/a_rather_long_scope/another_one/batch_normalization_17/FusedBatchNormV3;model/dense/BiasAdd/ReadVariableOp"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")


needs_axe = pytest.mark.skipif(not AXE.is_file(), reason=f"there is no {AXE}: run `make test-serve` once")


class Tab:
    """One tab of a browser, over the DevTools protocol.

    Attributes:
        requested: Addresses of all requests.
        complaints: What the console and the browser's log reported.
    """

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.requested: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            message = self._read(deadline)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _read(self, deadline: float):
        left = deadline - time.monotonic()
        assert left > 0, f"the browser has not answered in {LIMIT_SECONDS:.0f} s"
        self._socket.settimeout(left)
        message = json.loads(self._socket.recv())
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]))
        return message

    def _until_loaded(self) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._read(deadline).get("method") != "Page.loadEventFired":
            pass

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self._until_loaded()

    def act(self, expression: str) -> None:
        """Do something that loads another page."""
        self._socket.send(
            json.dumps({"id": next(self._numbers), "method": "Runtime.evaluate", "params": {"expression": expression}})
        )
        self._until_loaded()

    def value(self, expression: str):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def width(self, pixels: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=844, deviceScaleFactor=1, mobile=pixels < 800
        )

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory):
    past = PastRoot(tmp_path_factory.mktemp("past") / "root")
    sizes = (23_000, 22_800, 22_900)
    past.ids = [past.run(night, changes=[("int8", -0.001 * night, size)]) for night, size in enumerate(sizes)]
    past.run(3, "a-pipeline-with-quite-a-long-name", ended=False)
    return past


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve a root. Yields the address."""
    command = [sys.executable, "-m", "edgemill", "serve", "--root", str(root), "--port", "0"]
    with running(command, limit=SESSION_SECONDS) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0].rstrip("/")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0


@pytest.fixture(scope="module")
def site(past) -> Iterator[str]:
    with served(past.root) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    said = tmp_path_factory.mktemp("chromium") / "stderr.txt"
    with (
        said.open("wb") as log,
        running([CHROMIUM, *options], limit=SESSION_SECONDS, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        port = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 180
        while not (port.is_file() and port.read_text().count("\n") >= 1):
            started = process.poll() is None and time.monotonic() < deadline
            assert started, f"Chromium does not start: {said.read_text(errors='replace')[-2000:]}"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    request = urllib.request.Request(f"{browser}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
    yield tab
    tab.close()


def addresses(past, site: str) -> list[str]:
    first, second, newest = past.ids
    paths = ["/", "/pipelines/fashion-mnist", f"/runs/{newest}", f"/runs/{newest}/report.html", "/channels"]
    return [site + path for path in (*paths, f"/compare?before={first}&after={second}")]


def first_cells(tab: Tab) -> list[str]:
    return tab.value("[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].innerText)")


def test_pages_load_and_ask_no_other_server(tab: Tab, past, site: str) -> None:
    for address in addresses(past, site):
        tab.open(address)
        assert tab.value("document.querySelector('main').innerText.length") > 50, address
        assert tab.complaints == [], address
    assert {urlsplit(request).netloc for request in tab.requested} - {""} == {urlsplit(site).netloc}
    # Every style arrived: the page has the report's background.
    assert tab.value("getComputedStyle(document.querySelector('section')).borderTopWidth") == "1px"


def test_click_on_a_heading_sorts_and_another_click_turns_around(tab: Tab, past, site: str) -> None:
    tab.open(f"{site}/?pipeline=fashion-mnist")
    click = "[...document.querySelectorAll('thead a')].find(link => link.innerText == 'Bytes').click()"
    tab.act(click)
    assert first_cells(tab) == [past.ids[0], past.ids[2], past.ids[1]]
    tab.act(click)
    assert first_cells(tab) == [past.ids[1], past.ids[2], past.ids[0]]


def test_form_filters(tab: Tab, past, site: str) -> None:
    tab.open(site)
    assert len(first_cells(tab)) == 4
    tab.act("document.querySelector('[name=state]').value = 'pushed'; document.querySelector('form button').click()")
    assert first_cells(tab) == list(reversed(past.ids))
    # What was chosen stays chosen.
    assert tab.value("document.querySelector('[name=state]').value") == "pushed"


@pytest.mark.parametrize("width", [NARROW, 1280])
def test_no_page_is_wider_than_the_screen(tab: Tab, past, site: str, width: int) -> None:
    tab.width(width)
    for address in addresses(past, site):
        tab.open(address)
        tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert tab.value("document.documentElement.scrollWidth") <= width, address
        if width == NARROW:
            # No table scrolls inside the page either.
            wide = "[...document.querySelectorAll('table.wide, table.heat')]"
            inner = f"{wide}.filter(one => one.scrollWidth > one.parentElement.clientWidth + 1).length"
            assert tab.value(inner) == 0, address


def test_long_names_do_not_stretch_the_tables_of_the_report(tab: Tab, past, tmp_path: Path) -> None:
    report = (past.folder(past.ids[2]) / "report.html").read_text()
    name = "model/dense/MatMul;model/dense/BiasAdd/ReadVariableOp"
    assert name in report
    (tmp_path / "report.html").write_text(report.replace(name, LONG))
    tab.width(NARROW)
    tab.open((tmp_path / "report.html").as_uri())
    tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.value("document.documentElement.scrollWidth") <= NARROW
    cells = "[...document.querySelectorAll('table.wide th, table.wide td, table.heat th, table.heat td')]"
    assert tab.value(f"Math.max(...{cells}.map(cell => cell.getBoundingClientRect().right))") <= NARROW


def test_inputs_of_tables_do_not_overlap_their_neighbors(tab: Tab, past, tmp_path: Path) -> None:
    style = (past.folder(past.ids[2]) / "report.html").read_text().partition("<body")[0]
    figure = "<figure><p class='words'>2.957, 0.78, 1.266, 0.3308, 0.596, 11.32</p></figure>"
    page = f"{style}<body><main><div class='examples'>{figure * 6}</div></main>"
    (tmp_path / "examples.html").write_text(page)
    tab.width(1300)
    tab.open((tmp_path / "examples.html").as_uri())
    wider = "[...document.querySelectorAll('figure')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert tab.value(wider) == 0


def test_deep_lineage_with_long_names_of_files_is_readable_on_a_narrow_screen(tab: Tab, past, tmp_path: Path) -> None:
    summary = RunSummary.model_validate_json((past.folder(past.ids[2]) / "summary.json").read_text())
    details = {f"data café noir (rayé)/IMG {number:04} é.png": f"sha256 {'c98d2d71' * 8}" for number in range(5)}
    node = LineageNode(label="examples", kind="execution", details=details, files=details)
    for level in range(12):
        node = LineageNode(label=f"node {level}", kind="execution", children=(node,))
    write_report(summary.model_copy(update={"lineage": node}), tmp_path)
    tab.width(NARROW)
    tab.open((tmp_path / "report.html").as_uri())
    tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.value("document.documentElement.scrollWidth") <= NARROW
    assert tab.value("Math.min(...[...document.querySelectorAll('.tree dd')].map(one => one.clientWidth))") > 200


@needs_axe
@pytest.mark.parametrize("width", [NARROW, 1280])
def test_axe_finds_nothing_serious(tab: Tab, past, site: str, width: int) -> None:
    tab.width(width)
    for address in addresses(past, site):
        tab.open(address)
        assert serious(tab) == [], address


def serious(tab: Tab) -> list[object]:
    """What axe-core finds on the page that is serious or critical."""
    tab.value(AXE.read_text() + ";0")
    found = tab.value("axe.run().then(result => JSON.stringify(result.violations))")
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in json.loads(found)
        if one["impact"] in {"serious", "critical"}
    ]


HOSTILE = "<img src=x onerror=document.title='taken'>"
MARKUP = "</script></title><script>document.title='taken'</script>"


def rename(past: PastRoot, run_id: str, pipeline: str, before: str, after: str) -> None:
    """Change a name in a run, and write its report again."""
    folder = past.folder(run_id, pipeline)
    text = (folder / "summary.json").read_text()
    assert before in text
    write_report(RunSummary.model_validate_json(text.replace(before, after)), folder)


def test_many_failed_and_hostile_runs_are_shown_as_they_are(tab: Tab, tmp_path: Path) -> None:
    past = PastRoot(tmp_path / "root")
    past.root.mkdir()
    tab.width(NARROW)
    with served(past.root) as site:
        tab.open(site)
        assert "Nothing has run" in tab.value("document.querySelector('main').innerText")
        many = [past.run(night, "nightly", report=False) for night in range(200)]
        past.run(200, "nightly", ended=False)
        (past.folder(past.run(201, "nightly", report=False), "nightly") / "summary.json").write_text("{")
        hostile = [past.run(night, HOSTILE) for night in (202, 203)]
        # Names of tensors can be anything, and those of recipes are at most this long.
        rename(past, hostile[0], HOSTILE, "model/dense/MatMul;model/dense/BiasAdd/ReadVariableOp", MARKUP)
        rename(past, hostile[1], HOSTILE, '"int8"', '"' + "int8_" * 9 + "abc" + '"')
        paths = ["/", f"/?text={quote(MARKUP)}&pipeline={quote(HOSTILE)}", "/pipelines/nightly", "/channels"]
        paths += [f"/pipelines/{quote(HOSTILE)}", f"/compare?before={hostile[0]}&after={hostile[1]}"]
        paths += [f"/runs/{run}{page}" for run in hostile for page in ("", "/report.html")]
        paths += [f"/runs/{run}" for run in (many[0], many[-1])]
        for path in paths:
            tab.open(site + path)
            tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert tab.complaints == [], path
            assert tab.value("document.title") != "taken", path
            assert tab.value("document.querySelectorAll('img[onerror]').length") == 0, path
            assert tab.value("document.documentElement.scrollWidth") <= NARROW, path
            if AXE.is_file() and path in {"/", paths[4]}:
                assert serious(tab) == [], path
        assert {urlsplit(request).netloc for request in tab.requested} - {""} == {urlsplit(site).netloc}
        tab.open(site)
        assert len(first_cells(tab)) == 204
        states = "[...new Set([...document.querySelectorAll('.badge')].map(one => one.innerText))].sort().join()"
        assert "unfinished" in tab.value(states) and "unreadable" in tab.value(states)
