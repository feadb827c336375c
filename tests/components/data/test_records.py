import itertools

import pytest
import tensorflow as tf

from components.core.errors import DataError
from components.data.records import serialized_batches, serialized_tensors

RECORDS = [bytes([number]) * (number * 7 % 23) for number in range(25)]


def write(path, records=RECORDS):
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for record in records:
            writer.write(record)
    return str(path)


@pytest.mark.parametrize("size", [1, 10, 25, 100])
def test_records_come_in_order_in_batches_of_one_file(tmp_path, size):
    files = [write(tmp_path / "a.gz"), write(tmp_path / "none.gz", []), write(tmp_path / "b.gz", RECORDS[:3])]
    batches = [batch.tolist() for batch in serialized_batches(files, size)]
    expected = [RECORDS[at : at + size] for at in range(0, 25, size)] + [
        RECORDS[at : min(at + size, 3)] for at in range(0, 3, size)
    ]
    assert batches == expected


def test_readers_of_one_file_know_nothing_of_each_other(tmp_path):
    path = write(tmp_path / "a.gz")
    abandoned = serialized_tensors(path, 4)
    assert next(abandoned).numpy().tolist() == RECORDS[:4]
    pairs = zip(serialized_tensors(path, 4), serialized_tensors(path, 4), strict=True)
    assert [[each.numpy().tolist() for each in pair] for pair in itertools.islice(pairs, 2)] == [
        [RECORDS[:4]] * 2,
        [RECORDS[4:8]] * 2,
    ]
    abandoned.close()
    assert sum(len(batch) for batch in serialized_batches([path], 4)) == 25


@pytest.mark.parametrize("cut", [30, -9])
def test_damaged_files_are_refused(tmp_path, cut):
    path = tmp_path / "a.gz"
    write(path, [b"some record" * 50, *RECORDS])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.gz: the TFRecord file is truncated or damaged"):
        list(serialized_batches([str(path)], 4))
