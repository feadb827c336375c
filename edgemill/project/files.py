"""Writes `pipeline.yaml`, `task.py`, and `README.md` for a plan."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import SpecError, some_of
from components.core.files import write_atomically
from components.data.ready_made import Objective
from components.spec.devices.device import DeviceProfile
from components.spec.scheme import SCHEMES
from edgemill.project.inputs import PlannedInput
from edgemill.project.plan import Plan
from edgemill.project.several_outputs import CLASS_NAMES
from edgemill.project.standardized import STANDARDIZED

PIPELINE, TASK, README = "pipeline.yaml", "task.py", "README.md"
_FILES = (PIPELINE, TASK, README)


def refuse_existing(folder: Path, names: Sequence[str] = _FILES) -> None:
    """Check that no file would be overwritten.

    Raises:
        SpecError: The folder contains one of the files.
    """
    if existing := [name for name in names if (folder / name).exists()]:
        raise SpecError(
            f"this folder contains {some_of(existing)}, and `edgemill init` doesn't overwrite files",
            where=f"--output {folder}",
            bound=f"a folder without {some_of(names)}",
            remedy=(
                f"run them with `edgemill run {shlex.quote(str(folder / PIPELINE))}`, " if PIPELINE in existing else ""
            )
            + "choose another --output, or move these files",
        )


def write_project(
    folder: Path,
    plan: Plan,
    model: Path,
    data: Path,
    devices: Mapping[str, DeviceProfile],
    copies: Sequence[Path] = (),
) -> None:
    """Write the three files. Nothing is written if one of them exists.

    Args:
        folder: Where to write them.
        plan: The plan to write.
        model: The model.
        data: The data, as specified by the user.
        devices: Entry of `devices` -> its profile.
        copies: Additional files to copy.

    Raises:
        SpecError: One of them exists.
    """
    refuse_existing(folder, (*_FILES, *(copy.name for copy in copies)))
    baseline = Path(STANDARDIZED) if plan.standardized else Path(os.path.relpath(model, folder))
    contents = {copy.name: copy.read_bytes() for copy in copies}
    texts = {
        PIPELINE: _pipeline(plan, model, baseline, folder, devices),
        TASK: _task(plan, model, data),
        README: _readme(plan, model, data, devices),
    }
    contents |= {name: text.encode() for name, text in texts.items()}
    for name, content in contents.items():
        write_atomically(folder / name, content)


def _pipeline(plan: Plan, model: Path, baseline_path: Path, folder: Path, devices: Mapping[str, DeviceProfile]) -> str:
    held_out = plan.data.evaluated
    training = next(name for name in plan.data.splits.get("patterns", {"train": ""}) if name != held_out)
    bounds = [{"name": metric, _direction(plan.objective): plan.max_loss} for metric in plan.metrics]
    schemes = {scheme for device in devices.values() for scheme in device.schemes}
    baseline: dict[str, Any] = {"kind": "pretrained", "path": str(baseline_path)}
    if plan.input_shapes:
        baseline["input_shapes"] = {name: list(shape) for name, shape in plan.input_shapes.items()}
    evaluate: dict[str, Any] = {"split": held_out, "metrics": list(plan.metrics)}
    if plan.outputs:
        evaluate["metrics"] = [
            {"name": each.metric, "class_name": CLASS_NAMES[each.objective], "output": name}
            for name, each in plan.outputs.items()
        ]
        evaluate["outputs"] = {
            name: "values" if each.objective == "values" else "logits" if each.logits else "probabilities"
            for name, each in plan.outputs.items()
        }
        bounds = [{"name": each.metric, _direction(each.objective): each.max_loss} for each in plan.outputs.values()]
    elif plan.objective != "values":
        evaluate["outputs"] = "logits" if plan.logits else "probabilities"
    sections: dict[str, Any] = {
        "name": name_for(folder),
        "task": "task:TASK",
        "examples": {**plan.examples, "path": os.path.relpath(plan.data.folder, folder)},
        "baseline": baseline,
        "calibrate": {"split": training, "samples": 500, "seed": 17},
        "recipes": [
            {"name": scheme.recipe_name, "scheme": kind}
            for kind, scheme in SCHEMES.items()
            if scheme.recipe_name and kind in schemes
        ],
        "impossible": "skip",
        "evaluate": evaluate,
        "devices": list(devices),
        "gate": {"metrics": bounds, "prefer": "smallest", "champion": "report"},
        "push": {"kind": "local", "root": "registry"},
    }
    # The flow style keeps short sections on one line, as people write them.
    lines = [
        f"# `edgemill init` wrote this file for {_shown(model)}. You can change it.",
        "# `edgemill schema` describes each field.",
    ]
    for key, value in sections.items():
        if key == "recipes":
            lines += ["recipes:", *(f"  - {_flow(recipe)}" for recipe in value)]
            lines.append("  # If int8 loses too much accuracy, train under quantization:")
            lines.append("  # - {name: qat_int8, steps: [{kind: qat, epochs: 3}], scheme: static_wi8_ai8}")
        elif key == "examples":
            lines += ["examples:", *(f"  {name}: {_flow(field)}" for name, field in value.items())]
        else:
            if key == "impossible":
                lines.append("# Recipes that cannot work on this model are left out, and the report says why.")
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _direction(objective: Objective) -> str:
    return "max_rise_from_baseline" if objective == "values" else "max_drop_from_baseline"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 20, allow_unicode=True)
    return text.strip().removesuffix("\n...").strip()


def _shown(path: Path) -> str:
    """The name of a file, escaped for comments and docstrings, which a quote or a line break would end."""
    name = path.name if path.name not in ("", "..") else path.resolve().name or str(path)
    return re.sub(r'[\\"\x00-\x1f\x7f]', "_", name)


def name_for(folder: Path) -> str:
    """The name of the pipeline in a folder: the folder's name, without invalid characters."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:63].strip("-") or "model"


def _task(plan: Plan, model: Path, data: Path) -> str:
    inputs = [_of_input(each, plan.range) for each in plan.inputs.values()]
    by_name = "".join(
        f"        {_python(own)}: Input(\n{_lines(given, 12)}        ),\n"
        for own, given in zip(plan.inputs, inputs, strict=True)
    )
    described: dict[str, Any] = {
        "objective": plan.objective,
        "label": plan.data.label,
        "label_type": plan.data.label_type,
        "logits": plan.logits,
    }
    if plan.outputs:
        name, imported = "SeveralOutputsTask", "Input, SeveralOutputsTask, Target"
        targets = "".join(
            f"        {_python(output)}: Target(\n"
            + _lines({"label": each.label, "stored": each.stored, "shape": each.shape, "objective": each.objective,
                      "logits": each.logits, "scale": each.scale, "offset": each.offset}, 12)
            + "        ),\n"
            for output, each in plan.outputs.items()
        )  # fmt: skip
        lines = f"    inputs={{\n{by_name}    }},\n    outputs={{\n{targets}    }},\n"
    elif plan.targets:
        name, imported = "LabelsTask", "Input, LabelsTask"
        labels = _lines({"features": plan.data.labels, "shape": plan.targets}, 8)
        lines = (
            f"    inputs={{\n{by_name}    }},\n    output={_python(plan.output)},\n    labels=Input(\n{labels}    ),\n"
        )
        lines += _lines(
            {"logits": plan.logits, **({} if plan.objective == "labels" else {"objective": plan.objective})}
        )
    elif len(inputs) == 1:
        name, imported = "OneInputTask", "OneInputTask"
        lines = _lines({**inputs[0], **described})
    else:
        name, imported = "SeveralInputsTask", "Input, SeveralInputsTask"
        lines = f"    inputs={{\n{by_name}    }},\n{_lines(described)}"
    return f'''"""How examples of {_shown(data)} become inputs of {_shown(model)}. This file is yours to change.

`edgemill init` chose the range `{plan.range}` for the input. If scaling is not enough, write a class with the
methods of `edgemill.CompilingTask`.
"""

from edgemill import {imported}

TASK = {name}(
{lines})
'''


def _of_input(planned: PlannedInput, name: str) -> dict[str, Any]:
    used = planned.range_of(name)
    return {"features": planned.features, "shape": planned.shape, "scale": used.scale, "offset": used.offset,
            "dtype": planned.dtype}  # fmt: skip


def _lines(arguments: Mapping[str, Any], indent: int = 4) -> str:
    usual = {"label": "label", "label_type": "int64", "scale": 1.0, "offset": 0.0, "logits": False, "dtype": "float32"}
    return "".join(
        f"{' ' * indent}{name}={_python(value)},\n"
        for name, value in arguments.items()
        if usual.get(name, ...) != value
    )


def _python(value: Any) -> str:
    """A value in Python, as a formatter would write it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_python(name)}: {_python(each)}' for name, each in value.items())}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_python, value))}{',' if len(value) == 1 else ''})"
    return next((f"1 / {whole}" for whole in (255, 127.5, 32768) if value == 1 / whole), repr(value))


def _item(sentence: str) -> str:
    # Names, such as that of a device, keep their case.
    first = sentence.partition(" ")[0]
    return f"- {sentence[0].upper() if first.isalpha() else sentence[0]}{sentence[1:]}."


def _readme(plan: Plan, model: Path, data: Path, devices: Mapping[str, DeviceProfile]) -> str:
    facts = "\n".join(map(_item, plan.facts))
    warnings = "".join(f"{_item(warning)}\n" for warning in plan.warnings)
    losses = (
        [(each.metric, each.objective, each.max_loss) for each in plan.outputs.values()]
        if plan.outputs
        else [(metric, plan.objective, plan.max_loss) for metric in plan.metrics]
    )
    bounds = "\n".join(
        f"- The {metric.replace('_', ' ')} is at most {most:g} {'higher' if objective == 'values' else 'lower'}."
        for metric, objective, most in losses
    )
    return f"""# {_shown(model)} on {", ".join(device.name for device in devices.values())}

`edgemill init` wrote this folder for the model {_shown(model)} and the examples in {_shown(data)}. Run it:

```sh
edgemill run {PIPELINE}
```

The run converts the model with each recipe, evaluates the results on the split `{plan.data.evaluated}`, and publishes
the smallest that passes to `registry/`. A candidate passes if it fits into the budgets of its device and keeps these
bounds, compared with the float model:

{bounds}

## What was found

{facts}

## What to check

{warnings}- The bounds under `gate` and the device profiles are a starting point. Set your own.
- `champion: report` compares each candidate with the last release of its device. `require` refuses candidates
  that are worse.
- The order of `classes`, if there are any, must be the order of the model's outputs.
- Your application must prepare its inputs in the same way: see `examples` in `{PIPELINE}` and `scale` and `offset` in
  `{TASK}`.
- Nothing is augmented. If you add `qat` steps, add augmentation to `decode` of your own task.
"""
