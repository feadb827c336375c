"""The web application of `edgemill serve`. It only answers GET requests, runs no scripts, and loads nothing remote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, render_template, request, send_file
from markupsafe import Markup

import pipelines.report
from components.core.errors import EdgemillError
from edgemill.serve.results import SORT_KEYS, Wanted, all_runs, channels, front_picture, fronts, selected, trends
from pipelines.history.comparison import compare
from pipelines.history.past_runs import PastRun, summary_of
from pipelines.report import wording
from pipelines.report.narrow import label_cells
from pipelines.report.render import REPORT_NAME, SUMMARY_NAME
from pipelines.report.summary import RunSummary

# The report contains its style sheet, and charts have style attributes.
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_STYLE = Path(pipelines.report.__file__).with_name("style.html")
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def create_app(root: Path, *, loopback: bool = True) -> Flask:
    """Create the application for the runs of a root.

    On a loopback address, requests for another host are refused. Otherwise, a page on the internet could point its own
    host name to this address, and read the results.
    """
    app = Flask(__name__, static_folder=None)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(wording=wording, svg=Markup)  # Charts draw text as paths.

    @app.before_request
    def refuse_other_hosts() -> None:
        host = re.sub(r":\d+$", "", request.host)
        if loopback and host not in _LOOPBACK:
            abort(403, "This page answers requests for localhost only.")

    @app.after_request
    def secured(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def runs() -> str:
        found, wanted = all_runs(root), _wanted()
        return _page(
            "runs.html",
            title="Runs",
            wanted=wanted,
            runs=selected(found, wanted),
            total=len(found),
            pipelines=_pipelines(found),
            states=sorted({run.state for run in found}),
            previous=_previous(found),
            link=_sort_link(wanted),
        )

    @app.get("/pipelines/<name>")
    def pipeline(name: str) -> str:
        mine = [run for run in all_runs(root) if run.pipeline == name]
        if not mine:
            abort(404, "No pipeline of this name has run in this root.")
        newest = next((run for run in mine if any(one.front for one in run.devices)), None)
        return _page(
            "pipeline.html",
            title=name,
            runs=mine,
            trends=trends(mine),
            fronts=fronts(mine),
            newest=newest,
            picture=front_picture(newest) if newest is not None else None,
        )

    @app.get("/runs/<run_id>")
    def one_run(run_id: str) -> str:
        found = all_runs(root)
        run = _find(found, run_id)
        summary, error = _summary(run)
        return _page("run.html", title=run_id, run=run, summary=summary, error=error, previous=_previous(found)[run_id])

    @app.get("/runs/<run_id>/<any('report.html', 'summary.json'):file>")
    def file_of_run(run_id: str, file: str) -> Response:
        # The folder comes from the list of runs, never from the address.
        path = _find(all_runs(root), run_id).folder / (REPORT_NAME if file == "report.html" else SUMMARY_NAME)
        if not path.is_file():
            abort(404, f"This run has no {path.name}.")
        return send_file(path)

    @app.get("/compare")
    def compared() -> str:
        found = all_runs(root)
        pair = [_find(found, request.args.get(name, "")) for name in ("before", "after")]
        (before, first), (after, second) = (_summary(run) for run in pair)
        comparison = compare(before, after) if before is not None and after is not None else None
        return _page("compare.html", title="Comparison", comparison=comparison, error=first or second)

    @app.get("/channels")
    def registries() -> str:
        return _page("channels.html", title="Channels", channels=channels(all_runs(root)))

    @app.get("/style.css")
    def style() -> Response:
        inside = _STYLE.read_text().partition("<style>")[2].partition("</style>")[0]
        own = (Path(__file__).parent / "templates" / "serve.css").read_text()
        return Response(inside + own, mimetype="text/css")

    @app.get("/favicon.ico")
    def icon() -> Response:
        # Browsers request it for the report, which is a single file without an icon.
        return Response(status=204)

    @app.errorhandler(403)
    @app.errorhandler(404)
    @app.errorhandler(405)
    def refused(error: Any) -> tuple[str, int]:
        return _page("error.html", title=error.name, message=error.description), error.code

    @app.errorhandler(EdgemillError)
    def failed(error: EdgemillError) -> tuple[str, int]:
        return _page("error.html", title="This page cannot be shown", message=str(error)), 500

    return app


def _page(template: str, **values: Any) -> str:
    return label_cells(render_template(template, **values))


def _wanted() -> Wanted:
    arguments = request.args
    return Wanted(
        pipeline=arguments.get("pipeline", ""),
        state=arguments.get("state", ""),
        text=arguments.get("text", "").strip(),
        sort=arguments.get("sort", "started") if arguments.get("sort") in SORT_KEYS else "started",
        descending=arguments.get("order", "descending") != "ascending",
    )


def _sort_link(wanted: Wanted) -> Any:
    def link(column: str) -> dict[str, str]:
        """The arguments of the address that sorts by a column, or that reverses its order."""
        turned = wanted.sort == column and wanted.descending
        kept = {"pipeline": wanted.pipeline, "state": wanted.state, "text": wanted.text}
        arguments = {name: value for name, value in kept.items() if value}
        return arguments | {"sort": column, "order": "ascending" if turned else "descending"}

    return link


def _pipelines(runs: list[PastRun]) -> list[str]:
    return sorted({run.pipeline for run in runs})


def _previous(runs: list[PastRun]) -> dict[str, str | None]:
    """Run ID -> the run of the same pipeline before it; None for the first one."""
    found: dict[str, str | None] = {}
    last: dict[str, str] = {}
    for run in reversed(runs):
        found[run.run_id] = last.get(run.pipeline)
        last[run.pipeline] = run.run_id
    return found


def _find(runs: list[PastRun], run_id: str) -> PastRun:
    found = next((run for run in runs if run.run_id == run_id), None)
    return found if found is not None else abort(404, "There is no such run in this root.")


def _summary(run: PastRun) -> tuple[RunSummary | None, str]:
    try:
        return summary_of(run), ""
    except EdgemillError as error:
        return None, str(error)
