import subprocess
import sys

RUN = """
import sys
import apache_beam as beam
from components.upstream.beam import keep_beam_in_process
keep_beam_in_process()
with beam.Pipeline() as pipeline:
    pipeline | beam.Create([1, 2]) | beam.Map(lambda each: print("in", __import__("os").getpid(), each))
print("apache_beam.runners.portability.prism_runner" in sys.modules, __import__("os").getpid())
"""


def test_beam_pipelines_run_in_this_process_and_look_for_no_other_runner() -> None:
    lines = subprocess.run([sys.executable, "-c", RUN], check=True, capture_output=True, text=True).stdout.split("\n")
    looked, process = lines[2].split()
    assert looked == "False"
    assert sorted(lines[:2]) == [f"in {process} 1", f"in {process} 2"]
