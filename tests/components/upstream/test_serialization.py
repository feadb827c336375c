import apache_beam as beam
import tensorflow as tf

from components.upstream.serialization import SerializeInOneOrder


def example(names: list[str]) -> tf.train.Example:
    made = tf.train.Example()
    for name in names:
        made.features.feature[name].int64_list.value.append(len(name))
    return made


def test_equal_examples_are_equal_bytes_whatever_order_they_were_made_in() -> None:
    names = ["a" * length for length in range(1, 30)]
    (one,) = SerializeInOneOrder().process(example(names))
    (other,) = SerializeInOneOrder().process(example(names[::-1]))
    assert one == other
    assert tf.train.Example.FromString(one) == example(names)


def test_bytes_stay_as_they_are_and_workers_take_them_for_bytes() -> None:
    assert list(SerializeInOneOrder().process(b"a record")) == [b"a record"]
    assert beam.ParDo(SerializeInOneOrder()).get_type_hints().simple_output_type("x") is bytes
