from pipelines.report.narrow import label_cells
from pipelines.report.render import render_report

TABLE = """<table class="wide">
<thead><tr><th scope="col">Name</th><th scope="col" class="n">Size <span>in "KiB"</span></th><th>A</th></tr></thead>
<tbody><tr><th scope="row">x</th><td class="n">1<span class="sub">2</span></td><td>3</td></tr>
<tr><th scope="row">y</th><td colspan="2">failed</td></tr></tbody></table>"""


def test_cells_carry_the_heading_of_their_column() -> None:
    labeled = label_cells(TABLE)
    assert '<td class="n" data-label="Size in &quot;KiB&quot;"><div>1<span class="sub">2</span></div></td>' in labeled
    assert '<td data-label="A"><div>3</div></td>' in labeled
    assert '<th scope="row">x</th>' in labeled


def test_cell_of_several_columns_has_no_label_and_moves_the_next_one() -> None:
    assert '<td colspan="2">failed</td>' in label_cells(TABLE)
    longer = TABLE.replace("<th>A</th>", "<th>A</th><th>B</th>").replace("failed</td>", "failed</td><td>4</td>")
    assert '<td data-label="B"><div>4</div></td>' in label_cells(longer)


def test_other_tables_stay_as_they_are() -> None:
    plain = TABLE.replace(' class="wide"', "")
    assert label_cells(plain) == plain
    bare = '<table class="wide"><tbody><tr><td>1</td></tr></tbody></table>'
    assert label_cells(bare) == bare


def test_every_cell_of_the_report_but_the_first_of_a_row_is_labeled(plain_summary) -> None:
    html = render_report(plain_summary)
    row = html.partition('<section id="candidates">')[2].partition("float32</span>")[2].partition("</tr>")[0]
    assert row.count("<td") == row.count("data-label=") == 8
    assert 'data-label="Bytes"><div>83,716</div>' in row
