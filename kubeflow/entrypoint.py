"""The entrypoint of every container, `python -m kubeflow.entrypoint`: a node in a supervised process."""

from __future__ import annotations

from components.core.supervisor import supervised


def _node() -> None:
    from kubeflow.node import main

    raise SystemExit(main())


if __name__ == "__main__":
    supervised(_node)
