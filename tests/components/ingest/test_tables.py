"""CSV tables as Excel, LibreOffice, pandas, and R write them."""

from io import BytesIO

import pytest

from components.core.errors import DataError
from components.ingest.tables import TableReader, lines_of, with_names

ROWS = [{"size, cm": "1.5", "label": "x"}, {"size, cm": "2", "label": 'a "b"\nc'}]


@pytest.mark.parametrize(
    "content",
    [
        b'"size, cm",label\n1.5,x\n2,"a ""b""\nc"\n',
        # "CSV UTF-8" of Excel: a byte order mark, and both characters at line ends.
        b'\xef\xbb\xbf"size, cm",label\r\n1.5,x\r\n2,"a ""b""\nc"\r\n',
        # The same where numbers have decimal commas, with cleared rows and columns.
        b'\xef\xbb\xbfsize, cm;label;;\r\n1,5;x;;\r\n2;"a ""b""\nc";;\r\n;;;\r\n',
        b'sep=;\r\n"size, cm";label\r\n1,5;x\r\n2;"a ""b""\nc"\r\n',
        b'"size, cm"\tlabel\r\n1,5\tx\r\n2\t"a ""b""\nc"\r\n',
        # `to_csv` of pandas, and `write.csv` of R, which number the rows.
        b',"size, cm",label\n0,1.5,x\n1,2,"a ""b""\nc"\n',
        b'"","size, cm","label"\n"1",1.5,"x"\n"2",2,"a ""b""\nc"',
        b'"size, cm"|label\n1.5|x\n\n2|"a ""b""\nc"\n',
    ],
)
def test_table_is_read_however_it_was_written(content: bytes) -> None:
    assert list(with_names(TableReader(lines_of(BytesIO(content))))) == ROWS


def test_commas_come_first_and_cells_stay_as_they_are() -> None:
    reader = TableReader([b"a|b,c;d\n", b'1;2,"3,5"\n'])
    assert (reader.names, reader.separator, list(reader)) == (("a|b", "c;d"), ",", [["1;2", "3,5"]])
    assert TableReader([]).names == TableReader([b"\n"]).names == ()
    assert list(TableReader([b"only\n", b"1\n"])) == [["1"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n1,2,3\n", "line 3: a row has more or fewer cells .*expected: 2 cells; found: 3 cells"),
        (b"a,b,\n1,2,\n1,2,3\n", "line 3: column 3 of the table has no name .*'3'"),
        (b'a,b\n1,"2\n', "line 2: a quote is not closed"),
        (b"a,b\r1,2\r", "line 1: this is not a CSV table in UTF-8 .*Excel, File > Save As"),
        ("a,ü\n1,2\n".encode("cp1252"), "line 1: this is not a CSV table in UTF-8 .*Excel, File > Save As"),
        ("a\tb\n1\t2\n".encode("utf-16"), "line 1: this is not a CSV table in UTF-8 .*LibreOffice"),
        (b"a" * (17 << 20), "line 1: a row has more than 16,777,216 bytes"),
    ],
)
def test_table_that_cannot_be_read_says_where_and_how_to_save_it(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        list(TableReader(lines_of(BytesIO(content))))
