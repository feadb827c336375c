import subprocess
import sys


def test_tfx_components_load_on_demand_only() -> None:
    code = """
import sys
import components
from pipelines.graph.tfx_start import defer_tfx_components
defer_tfx_components()
import tfx.components.schema_gen.component
print("keras_tuner" in sys.modules)
from tfx.components import SchemaGen
print(SchemaGen is tfx.components.schema_gen.component.SchemaGen, "keras_tuner" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
