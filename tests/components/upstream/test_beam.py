import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from inspect import Signature, signature
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.internal import cloudpickle_pickler, dill_pickler, pickler
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.core import CallableWrapperDoFn
from apache_beam.transforms.userstate import SetStateSpec, is_stateful_dofn

from components.upstream.beam import keep_beam_in_process, remembered

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


STATE = beam.DoFn.StateParam(SetStateSpec("a", VarIntCoder()))


class Adds(beam.DoFn):
    def __init__(self, number: int) -> None:
        self.number = number

    def process(self, element: int, state: Any = STATE) -> Any:
        yield element + self.number


def test_signature_of_a_function_is_read_once_and_that_of_a_method_without_its_object() -> None:
    asked: list[Callable[..., Any]] = []

    def asking(function: Callable[..., Any]) -> Signature:
        asked.append(function)
        return signature(function)

    read = remembered(asking)
    first, second = Adds(1), Adds(2)
    for function in (first.process, second.process, Adds.process, abs, Adds):
        assert read(function) == read(function) == signature(function)
    assert asked == [first.process, Adds.process, abs, abs, Adds, Adds]
    lasting = weakref.ref(first)
    del first, asked[0]
    gc.collect()
    assert lasting() is None


def test_state_of_a_function_is_found_although_signatures_are_remembered() -> None:
    keep_beam_in_process()
    keep_beam_in_process()
    assert is_stateful_dofn(Adds(1))
    assert not is_stateful_dofn(CallableWrapperDoFn(lambda each: [each]))


def test_functions_that_no_module_holds_reach_the_elements() -> None:
    keep_beam_in_process()
    number = 3
    with beam.Pipeline() as pipeline:
        made = pipeline | beam.Create([1]) | beam.Map(lambda each: each + number)
        assert_that(made, equal_to([4]))
    assert pickler.desired_pickle_lib is cloudpickle_pickler
    # Workers of a job service read functions with their own default.
    assert dill_pickler.loads(pickler.dumps(lambda each: each + number))(1) == 4
