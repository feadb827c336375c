"""Documents and examples are valid, and name only what exists."""

import ast
import re
import runpy
import textwrap
from pathlib import Path

import pytest
import yaml

from components.spec.devices.device import DeviceProfile
from edgemill.main import app
from kubeflow.environment import EnvironmentFile, KubeflowEnvironment, read_environment
from pipelines.file.load import load_pipeline
from pipelines.file.schema import schema_of
from pipelines.file.spec import PipelineSpec

FOLDERS = ("components", "pipelines", "kubeflow", "edgemill", "docs", "benchmarks", "tests", "requirements")
# The changelog and the decisions name files and commands that are gone.
DOCUMENTS = sorted([*Path().glob("*.md"), *(path for folder in FOLDERS for path in Path(folder).rglob("*.md"))])
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md" and "decisions" not in path.parts]
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}
COMMANDS |= {group.name for group in app.registered_groups}


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", Path(file).read_text(), re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pipeline_file_in_the_readme_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "yaml")
    assert len(block.splitlines()) == 12
    (tmp_path / "pipeline.yaml").write_text(block)
    loaded = load_pipeline(tmp_path / "pipeline.yaml")
    assert [recipe.name for recipe in loaded.spec.recipes] == ["float32", "int8", "qat_int4"]
    assert [device.name for device in loaded.devices] == ["phone_cpu", "cortex_m55"]


def test_task_in_the_readme_has_what_its_pipeline_file_asks_for() -> None:
    (block,) = blocks("README.md", "yaml")
    (code,) = blocks("README.md", "python")
    module = ast.parse(re.sub(r"^   ", "", code, flags=re.MULTILINE))
    (task,) = [node for node in module.body if isinstance(node, ast.ClassDef)]
    # A pretrained baseline and a step that trains.
    assert {node.name for node in task.body if isinstance(node, ast.FunctionDef)} == {
        "feature_spec",
        "decode",
        "compile",
    }
    named = {target.id for node in module.body if isinstance(node, ast.Assign) for target in node.targets}
    assert yaml.safe_load(block)["task"].partition(":")[2] in named


def test_table_in_the_readme_has_the_recipes_of_the_example() -> None:
    example = yaml.safe_load(Path("pipelines/fashion_mnist/pipeline.yaml").read_text())
    rows = re.findall(r"^\| ([a-z]\w*) \|", Path("README.md").read_text(), re.MULTILINE)
    assert rows == [recipe["name"] for recipe in example["recipes"]]


def test_readme_is_read_in_a_minute() -> None:
    lines = Path("README.md").read_text().splitlines()
    assert len(lines) < 120
    assert [line for line in lines if len(line) > 120] == []


def test_recipes_in_the_docs_are_valid(tmp_path: Path) -> None:
    (readme,) = blocks("README.md", "yaml")
    (block,) = blocks("docs/recovery.md", "yaml")
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**yaml.safe_load(readme), **yaml.safe_load(block)}))
    recipes = load_pipeline(tmp_path / "pipeline.yaml").spec.recipes
    assert {recipe.scheme.calibration_method.kind for recipe in recipes} == {"min_max", "percentile", "mse", "entropy"}
    assert {recipe.scheme.keep_float.kind for recipe in recipes if recipe.scheme.keep_float} == {"auto", "layers"}


def test_page_about_pytorch_works_on_a_file_with_such_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from pipelines.checks.dry_run import dry_run
    from pipelines.checks.preflight import preflight

    export, task = blocks("docs/pytorch.md", "python")
    # litert-torch isn't installed, so the first block is only parsed.
    assert {"litert_torch", "torch"} <= set(compile(export, "docs/pytorch.md", "exec").co_names)
    (file,) = blocks("docs/pytorch.md", "yaml")
    (tmp_path / "garments_task.py").write_text(task)
    (tmp_path / "pipeline.yaml").write_text(file)
    (tmp_path / "data").symlink_to(Path("pipelines/fashion_mnist/data").resolve())
    image = tf.keras.Input([1, 28, 28], batch_size=1, name="image")
    values = tf.keras.layers.Permute([2, 3, 1])(image)
    hidden = tf.keras.layers.Dense(16, "relu")(tf.keras.layers.Flatten()(values))
    model = tf.keras.Model(image, tf.keras.layers.Dense(10)(hidden))
    (tmp_path / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    monkeypatch.syspath_prepend(str(tmp_path))
    checked, _ = dry_run(preflight(tmp_path / "pipeline.yaml"))
    assert [recipe.name for recipe in checked.spec.recipes] == ["float32", "int8", "percentile", "dynamic"]


def test_page_about_own_models_shows_a_task_for_spectrograms_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import tensorflow as tf
    from scipy.io import wavfile

    from pipelines.checks.dry_run import dry_run
    from pipelines.checks.preflight import preflight

    (task,) = (block for block in blocks("docs/own-model.md", "python") if "Spectrograms" in block)
    (file,) = blocks("docs/own-model.md", "yaml")
    (tmp_path / "spectrograms.py").write_text(task)
    (tmp_path / "pipeline.yaml").write_text(file)
    for number in range(20):
        name = ("stop", "go")[number % 2]
        (tmp_path / "sounds" / name).mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(8000) * (0.1 + 0.5 * (number % 2)) + number)
        wavfile.write(tmp_path / "sounds" / name / f"{number}.wav", 8000, (tone * 2**14).astype(np.int16))
    hidden = tf.keras.layers.GlobalAveragePooling2D()(spectrogram := tf.keras.Input([61, 32, 1]))
    tf.keras.Model(spectrogram, tf.keras.layers.Dense(2, "softmax")(hidden)).save(tmp_path / "my.keras")
    monkeypatch.syspath_prepend(str(tmp_path))
    checked, _ = dry_run(preflight(tmp_path / "pipeline.yaml"))
    assert [recipe.name for recipe in checked.spec.recipes] == ["int8"]


def test_example_of_several_outputs_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from pipelines.checks.dry_run import dry_run
    from pipelines.checks.preflight import preflight
    from tests.small_pipeline import SmallPipeline

    def row(index: int, features: dict[str, object]) -> dict[str, object]:
        of = np.random.default_rng(index)
        numbers = {name: np.float32([of.uniform(0.5, 2)]) for name in ("distance", "size", "weight")}
        arrays = {"image": of.random(256, np.float32), "sensors": of.random(6, np.float32)}
        return {**arrays, **numbers, "kind": features["label"]}

    small = SmallPipeline(tmp_path)
    for split in ("train", "eval"):
        small.write_split(split, 60, len(split), row)
    (module,) = (block for block in blocks("docs/outputs.md", "python") if block.startswith("# two_heads.py"))
    (file,) = (block for block in blocks("docs/outputs.md", "yaml") if "two_heads:TASK" in block)
    (tmp_path / "two_heads.py").write_text(module)
    (tmp_path / "pipeline.yaml").write_text(file)
    monkeypatch.syspath_prepend(str(tmp_path))
    checked, _ = dry_run(preflight(tmp_path / "pipeline.yaml"))
    worst, relative = checked.spec.evaluate.metrics[1:]
    assert (worst.less_is_better, worst.range) == (False, (0, 1))
    assert (relative.less_is_better, relative.range) == (True, (0, None))


def test_documents_name_only_commands_and_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))
    offenders, named = [], set()
    for path in CURRENT:
        text = path.read_text()
        commands = set(re.findall(r"(?:`|^|bin/)edgemill ([a-z][a-z-]*)\b", text, re.MULTILINE))
        named |= commands
        offenders += [f"{path}: edgemill {command}" for command in commands - COMMANDS]
        offenders += [
            f"{path}: make {name}" for name in set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)) - targets
        ]
    assert not offenders, "\n".join(sorted(offenders))
    assert named == COMMANDS


def test_documents_name_only_files_that_exist() -> None:
    roots = "|".join(FOLDERS)
    offenders = [
        f"{path}: {name}"
        for path in CURRENT
        for name in re.findall(rf"`((?:{roots})/[\w./-]+)`", path.read_text())
        if not Path(name).exists()
    ]
    assert not offenders, "\n".join(offenders)


def test_relative_links_lead_to_files_and_headings_that_exist() -> None:
    offenders = []
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                offenders.append(f"{path}: {link}")
    assert not offenders, "\n".join(offenders)


def test_site_lists_every_page() -> None:
    # `make docs` finds this and more; this test needs no MkDocs.
    listed = set(re.findall(r"[\w/-]+\.md$", Path("mkdocs.yml").read_text(), re.MULTILINE))
    pages = {path.relative_to("docs").as_posix() for path in Path("docs").rglob("*.md")}
    assert {page for page in pages - listed if not page.startswith("decisions/0")} == set()
    examples = {f"examples/{path.parent.name}.md" for path in Path("pipelines").glob("*/README.md")}
    assert examples - listed == set()


def test_reference_pages_are_up_to_date() -> None:
    assert [str(path) for path, text in generate()["pages"]().items() if path.read_text() != text] == [], (
        "run `make reference` and commit the result"
    )


def test_check_of_the_reference_pages_names_the_page_that_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("new")
    main = generate()["main"]
    monkeypatch.setitem(main.__globals__, "pages", lambda: {page: "new"})
    assert main(["--check"]) == 0
    page.write_text("old")
    assert main(["--check"]) == 1
    assert f"{page} is out of date: run `make reference`" in capsys.readouterr().err
    assert page.read_text() == "old"
    assert main([]) == 0
    assert page.read_text() == "new"


def test_schema_describes_every_field() -> None:
    schema = schema_of(PipelineSpec)
    undescribed = [
        f"{kind}.{field}"
        for kind, definition in {"PipelineSpec": schema, **schema["$defs"]}.items()
        for field, value in definition["properties"].items()
        if not value.get("description") and "const" not in value
    ]
    assert undescribed == []
    truncated = [
        f"{kind}.{field}: {description}"
        for kind, definition in {"PipelineSpec": schema, **schema["$defs"]}.items()
        for field, value in definition["properties"].items()
        if (description := value.get("description")) and not description.endswith((".", ")"))
    ]
    assert truncated == []  # a line that is not indented is lost
    prune = schema["$defs"]["PruneStep"]
    assert prune["properties"]["except"]["description"] == "Names or shell patterns of layers to leave out."  # an alias
    assert prune["properties"]["seed"]["description"] == "Seed of shuffling and dropout."  # inherited
    assert "Attributes" not in prune["description"]


def written(language: str) -> list[object]:
    """Every block of a language in the documents, with its page."""
    found = []
    for path in CURRENT:
        for number, block in enumerate(blocks(str(path), language)):
            found.append(pytest.param(textwrap.dedent(block), id=f"{path}-{number}"))
    return found


@pytest.mark.parametrize("block", written("yaml"))
def test_yaml_in_the_documents_is_valid(block: str, tmp_path: Path) -> None:
    content = yaml.safe_load(block)
    fields = set(content)
    if "device_class" in fields:
        DeviceProfile.model_validate(content)
    elif fields <= set(EnvironmentFile.model_fields):
        EnvironmentFile.model_validate(content)
    else:
        # A page shows the fields that it is about. The others are those of the README.
        assert fields <= set(PipelineSpec.model_fields), block
        (readme,) = blocks("README.md", "yaml")
        (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**yaml.safe_load(readme), **content}))
        load_pipeline(tmp_path / "pipeline.yaml")


def test_tutorials_about_own_models_are_one_for_each_kind_of_data() -> None:
    # `make test-own-models` and tests/e2e/test_own_kinds.py take their commands from the page.
    script = Path("tests/own_models.sh").read_text()
    assert "docs/own-model-tutorials.md" in script and "edgemill optimize" not in script
    written_by = [block.split()[:3] for block in blocks("docs/own-model-tutorials.md", "sh")]
    assert written_by == [["python", "tests/own_models.py", kind] for kind in ("images", "sounds", "table", "arrays")]


def test_environment_file_for_kubeflow_is_valid_and_the_docs_know_its_fields() -> None:
    found = read_environment(Path("kubeflow/environment.example.yaml"))
    assert found.kubeflow is not None
    text = Path("docs/kubeflow.md").read_text()
    for field in (*EnvironmentFile.model_fields, *KubeflowEnvironment.model_fields):
        assert f"`{field}`" in text or f"`kubeflow.{field}`" in text or field in {"kubeflow", "image_pull_secret"}, (
            field
        )


def generate() -> dict[str, object]:
    return runpy.run_path("docs/reference/generate.py")
